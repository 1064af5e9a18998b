"""Worker processes: each makes blocks, asks where their bytes go, and writes them there itself.

The parent hands out blocks and places in the files, both in order; bytes never pass between processes. So the files are
the same for any number of workers, and a worker that is ahead waits with one block in hand (back-pressure).
"""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa

from ehrsynth.engines.blocks import Job, Maker
from ehrsynth.engines.files import Piece, write_at
from ehrsynth.engines.output import Output, hold
from ehrsynth.engines.start import leave_pandas_out
from ehrsynth.errors import EhrsynthError
from ehrsynth.exporters import Part

__all__ = ["Done", "Workers"]

_HELD_BYTES = 128 << 20
"""Text of one block that a worker keeps in memory; more goes to a temporary file."""

_COPY_BYTES = 1 << 20
_SMALL_FILE = 1 << 20
"""A worker hashes new files up to this size: there are many of them, and the parent hashes the others."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Done:
    """A block that is written: its patients and rows, and the pieces of files by format."""

    block: int
    patients: int
    row_counts: dict[str, int]
    pieces: dict[str, list[Piece]]


@dataclass(slots=True)
class _Stretch:
    """Text of one block that goes to one place: all of a file, or one part of a series of files (`split_at`)."""

    path: str
    split_at: int
    size: int = 0
    rows: int = 0


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A block that is encoded and waits for its places: the stretches of text of each format."""

    block: int
    patients: int
    row_counts: dict[str, int]
    stretches: dict[str, list[_Stretch]]


class Workers:
    """Some worker processes.

    Parameters
    ----------
    job : Job
    count : int
    """

    def __init__(self, job: Job, count: int) -> None:
        # spawn: forking a process with Arrow's threads is not safe.
        context = get_context("spawn")
        self._processes: dict[Connection, BaseProcess] = {}
        with _for_workers():
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, job), daemon=True)
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

    def run(self, target: Output, tasks: Sequence[tuple[int, int]]) -> Iterator[Done]:
        """Have the blocks `tasks` (index, patients) written to `target`; yield them in order when they are.

        Raises
        ------
        EhrsynthError
            A worker died.
        """
        ahead, order = iter(tasks), [index for index, _ in tasks]
        made: dict[int, tuple[Connection, _Made]] = {}
        placed: dict[Connection, tuple[_Made, dict[str, list[Piece]]]] = {}
        written: dict[int, Done] = {}
        at_place = at_end = 0
        for connection in self._processes:
            _send(connection, ("start", target.staging))
            if (task := next(ahead, None)) is not None:
                _send(connection, ("make", *task))
        while at_end < len(order):
            for connection in self._ready():
                message = _receive(connection)
                if isinstance(message, BaseException):
                    raise message
                if isinstance(message, _Made):
                    made[message.block] = connection, message
                else:
                    block, pieces = placed.pop(connection)
                    written[block.block] = _done(block, pieces, message)
            while at_place < len(order) and order[at_place] in made:
                connection, block = made.pop(order[at_place])
                pieces = _places(target, block)
                placed[connection] = block, pieces
                _send(connection, ("write", pieces))
                # The next one is asked for at once: it waits in the pipe while this one is written.
                if (task := next(ahead, None)) is not None:
                    _send(connection, ("make", *task))
                at_place += 1
            while at_end < len(order) and order[at_end] in written:
                yield written.pop(order[at_end])
                at_end += 1

    def _ready(self) -> list[Connection]:
        return [connection for connection in wait(list(self._processes)) if isinstance(connection, Connection)]


def _places(target: Output, block: _Made) -> dict[str, list[Piece]]:
    return {
        name: [Piece(*target.format(name).reserve(s.path, s.size, s.split_at), s.size, s.rows) for s in stretches]
        for name, stretches in block.stretches.items()
    }


def _done(block: _Made, pieces: dict[str, list[Piece]], hashes: Mapping[str, Mapping[str, bytes]]) -> Done:
    hashed = {
        name: [Piece(p.path, p.offset, p.size, p.rows, hashes[name].get(p.path)) for p in some]
        for name, some in pieces.items()
    }
    return Done(block=block.block, patients=block.patients, row_counts=block.row_counts, pieces=hashed)


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
def _for_workers() -> Iterator[None]:
    """Start processes that use one thread each for linear algebra, as blocks run side by side, and know no Ctrl-C.

    Ctrl-C reaches the whole process group: the parent alone decides, and a worker that has not yet got to ignoring it
    would say so at length.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    masks = hasattr(signal, "pthread_sigmask")
    if masks:
        # The first process brings multiprocessing's tracker with it, which would lift the mask.
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


# -- in the worker -----------------------------------------------------------------------------------------------------


def _work(connection: Connection, job: Job) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pa.set_cpu_count(1)
    leave_pandas_out(job.formats)
    parent = os.getppid()

    def leave_with_parent() -> None:
        # A parent that was killed cannot end its workers; an orphan ends itself.
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            _serve(connection, Maker(job))
        except (EhrsynthError, OSError, MemoryError) as error:
            if isinstance(error, BrokenPipeError | ConnectionResetError):
                raise
            connection.send(error)
            connection.recv()


def _serve(connection: Connection, maker: Maker) -> None:
    staging = Path()
    held: BinaryIO | None = None
    text: _BlockText | None = None
    try:
        while True:
            match connection.recv():
                case "start", Path() as staging:
                    held = hold(staging)
                case "make", int(index), int(n):
                    counts: dict[str, int] = {}
                    text = _BlockText(staging)
                    for name, part in maker.encode(index, n, counts):
                        text.add(name, part)
                    connection.send(_Made(block=index, patients=n, row_counts=counts, stretches=text.stretches))
                case "write", dict(pieces) if text is not None:
                    connection.send(text.write(pieces))
                    text = None
    finally:
        if held is not None:
            held.close()


class _BlockText:
    """The text of one block, by format and stretch, in memory or (what is too much) in a temporary file."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._parts: dict[tuple[str, int], list[bytes | memoryview]] = {}
        self._held = 0
        self._spill: BinaryIO | None = None
        self._spilled: dict[tuple[str, int], list[tuple[int, int]]] = {}
        self._number: dict[tuple[str, str], int] = {}
        self.stretches: dict[str, list[_Stretch]] = {}

    def add(self, name: str, part: Part) -> None:
        stretches = self.stretches.setdefault(name, [])
        number = None if part.split_at else self._number.get((name, part.path))
        if number is None:
            number = self._number[name, part.path] = len(stretches)
            stretches.append(_Stretch(part.path, part.split_at))
        stretches[number].size += len(part.data)
        stretches[number].rows += part.rows
        self._parts.setdefault((name, number), []).append(part.data)
        self._held += len(part.data)
        if self._held > _HELD_BYTES:
            self._put_away()

    def _put_away(self) -> None:
        if self._spill is None:
            # In the staging folder, without a name: the disk of the output has room, and nothing is left of it.
            self._spill = tempfile.TemporaryFile(dir=self._staging)  # noqa: SIM115
        for key, parts in self._parts.items():
            start = self._spill.tell()
            self._spill.writelines(parts)
            self._spilled.setdefault(key, []).append((start, self._spill.tell() - start))
        self._parts, self._held = {}, 0

    def write(self, pieces: Mapping[str, Sequence[Piece]]) -> dict[str, dict[str, bytes]]:
        """Write the stretches to their places, one piece each; return sha256 of small new files."""
        hashes: dict[str, dict[str, bytes]] = {}
        for name, some in pieces.items():
            hashes[name] = {}
            for number, piece in enumerate(some):
                write_at(self._staging / name / piece.path, piece.offset, self._text(name, number))
                if piece.offset == 0 and piece.size <= _SMALL_FILE:
                    digest = hashlib.sha256()
                    for data in self._text(name, number):
                        digest.update(data)
                    hashes[name][piece.path] = digest.digest()
        if self._spill is not None:
            self._spill.close()
        return hashes

    def _text(self, name: str, number: int) -> Iterator[bytes | memoryview]:
        for start, size in self._spilled.get((name, number), ()):
            assert self._spill is not None
            self._spill.seek(start)
            while size:
                data = self._spill.read(min(size, _COPY_BYTES))
                yield data
                size -= len(data)
        yield from self._parts.get((name, number), ())
