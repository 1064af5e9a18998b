"""Worker processes: each makes tasks, asks where their bytes go, and writes them there itself.

The parent hands out tasks and places in the files, both in order; bytes never pass between processes. So the files are
the same for any number of workers. The task whose turn it is is written while it is made; a worker that is ahead of it
keeps what it makes, and makes no more than one task beyond that (back-pressure).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from ehrsynth.engines.blocks import Job, Maker, Task
from ehrsynth.engines.files import Piece
from ehrsynth.engines.output import Output
from ehrsynth.engines.work import Finished, Go, Made, Make, Placed, Start, Stretch, Wanted, work
from ehrsynth.errors import EhrsynthError

__all__ = ["Done", "Workers", "may_fork"]

_IN_HAND = 2
"""Tasks that a worker may have begun and not written."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def may_fork() -> bool:
    """Tell whether this process can be forked: none of Python's threads could hold a lock at that moment.

    Threads that are not Python's cannot be told apart. Those of Arrow's pools and allocator and of OpenBLAS are stopped
    and begun again around a fork by their libraries; strangers' may not be, so whoever asks must know that it has none.
    """
    return sys.platform == "linux" and threading.active_count() == 1


@dataclass(frozen=True, kw_only=True)
class Done:
    """A task that is written: its rows, and the pieces of files by format."""

    task: Task
    row_counts: dict[str, int]
    pieces: dict[str, list[Piece]]


@dataclass(slots=True)
class _Begun:
    """A task that a worker has been given, and the places it has got."""

    connection: Connection
    made: bool = False
    pieces: dict[str, list[Piece]] = field(default_factory=dict)


class Workers:
    """Some worker processes.

    Parameters
    ----------
    job : Job
    count : int
    maker : Maker, optional
        Workers are forked and make their tasks with it, without a start of their own; see `may_fork`. Without it they
        are processes from scratch.
    """

    def __init__(self, job: Job, count: int, maker: Maker | None = None) -> None:
        context = get_context("spawn") if maker is None else get_context("fork")
        self._processes: dict[Connection, BaseProcess] = {}
        with _for_workers(tracked=maker is None), warnings.catch_warnings():
            # Python warns of forking a process with threads: see `may_fork`.
            warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
            for _ in range(count):
                ours, theirs = context.Pipe()
                more = () if maker is None else (maker, [*self._processes, ours])
                process = context.Process(target=work, args=(theirs, job, *more), daemon=True)
                process.start()
                theirs.close()
                self._processes[ours] = process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection, process in self._processes.items():
            if kind is not None:
                process.terminate()
            connection.close()
        for process in self._processes.values():
            process.join()

    def run(self, target: Output, tasks: Sequence[Task]) -> Iterator[Done]:
        """Have `tasks` written to `target`; yield them in order when they are.

        Raises
        ------
        EhrsynthError
            A worker died.
        """
        begun: dict[int, _Begun] = {}
        given = turn = 0
        done: Finished | None
        for connection in self._processes:
            _send(connection, Start(target.staging))
        while turn < len(tasks):
            for connection in self._processes:
                # What it has begun and made: it goes on while that waits for its turn.
                own = [one.made for one in begun.values() if one.connection is connection]
                if given < len(tasks) and all(own) and len(own) < _IN_HAND:
                    begun[given] = _Begun(connection)
                    _send(connection, Make(given, tasks[given]))
                    if given == turn:
                        _send(connection, Go(given))
                    given += 1
            for connection in self._ready():
                done = None
                match _receive(connection):
                    case BaseException() as error:
                        raise error
                    case Wanted(number, stretches):
                        pieces = _places(target, stretches)
                        for name, some in pieces.items():
                            begun[number].pieces.setdefault(name, []).extend(some)
                        _send(connection, Placed(pieces))
                    case Made(number):
                        begun[number].made = True
                    case Finished() as done:
                        turn += 1
                        if turn in begun:
                            _send(begun[turn].connection, Go(turn))
                        pieces = _with_hashes(begun.pop(done.number).pieces, done.hashes)
                        yield Done(task=tasks[done.number], row_counts=done.row_counts, pieces=pieces)

    def _ready(self) -> list[Connection]:
        return [connection for connection in wait(list(self._processes)) if isinstance(connection, Connection)]


def _places(target: Output, stretches: dict[str, list[Stretch]]) -> dict[str, list[Piece]]:
    return {
        name: [Piece(*target.format(name).reserve(s.path, s.size, s.split_at), s.size, s.rows) for s in some]
        for name, some in stretches.items()
    }


def _with_hashes(pieces: dict[str, list[Piece]], hashes: dict[str, dict[str, bytes]]) -> dict[str, list[Piece]]:
    return {
        name: [replace(p, sha256=hashes[name].get(p.path)) if p.offset == 0 else p for p in some]
        for name, some in pieces.items()
    }


def _died() -> EhrsynthError:
    return EhrsynthError("A worker process died.", hint="Memory may have run out: use fewer workers (-w).")


def _send(connection: Connection, message: object) -> None:
    try:
        connection.send(message)
    except (BrokenPipeError, ConnectionResetError):
        raise _died() from None


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, ConnectionResetError):
        raise _died() from None


@contextmanager
def _for_workers(*, tracked: bool) -> Iterator[None]:
    """Start processes that use one thread each for linear algebra, as blocks run side by side, and know no Ctrl-C.

    Ctrl-C reaches the whole process group: the parent alone decides, and a worker that has not yet got to ignoring it
    would say so at length.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    masks = hasattr(signal, "pthread_sigmask")
    if masks and tracked:
        # The first process from scratch brings multiprocessing's tracker with it, which would lift the mask.
        resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if masks else set()
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
