"""What a worker process does: it makes tasks one after another and writes their text at the places it is told."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from ehrsynth.engines.blocks import Job, Maker, Task
from ehrsynth.engines.files import Piece, write_at
from ehrsynth.engines.output import hold
from ehrsynth.engines.start import keep_memory, leave_pandas_out
from ehrsynth.errors import EhrsynthError
from ehrsynth.exporters import Part

__all__ = ["Finished", "Go", "Made", "Make", "Placed", "Start", "Stretch", "Wanted", "work"]

_HELD_BYTES = 128 << 20
"""Text whose turn has not come that a worker keeps in memory; more goes to a temporary file."""

_FLUSH_BYTES = 8 << 20
"""Text whose turn has come is written when there is so much of it, or when all is made."""

_COPY_BYTES = 1 << 20
_SMALL_FILE = 1 << 20
"""A worker hashes new files up to this size: there are many of them, and the parent hashes the others."""


# -- what parent and worker say to each other --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """To a worker: the folder where files grow."""

    staging: Path


@dataclass(frozen=True, slots=True)
class Make:
    """To a worker: make task `number`."""

    number: int
    task: Task


@dataclass(frozen=True, slots=True)
class Go:
    """To a worker: all before task `number` has its places, so what it makes of it may be written."""

    number: int


@dataclass(slots=True)
class Stretch:
    """Text that goes to one place of a file, or to the last of a series of files (`split_at`)."""

    path: str
    split_at: int
    size: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """To the parent: places are wanted for these stretches, by format, of task `number`."""

    number: int
    stretches: dict[str, list[Stretch]]


@dataclass(frozen=True, slots=True)
class Placed:
    """To a worker: the places, in the order of the stretches."""

    pieces: dict[str, list[Piece]]


@dataclass(frozen=True, slots=True)
class Made:
    """To the parent: task `number` is made and waits in hand for its turn."""

    number: int


@dataclass(frozen=True, slots=True)
class Finished:
    """To the parent: task `number` is written; rows of each table, and sha256 of small new files by format."""

    number: int
    row_counts: dict[str, int]
    hashes: dict[str, dict[str, bytes]]


# -- the worker --------------------------------------------------------------------------------------------------------


def work(connection: Connection, job: Job, maker: Maker | None = None, others: Sequence[Connection] = ()) -> None:
    """Serve the parent until it closes the connection.

    Parameters
    ----------
    connection : Connection
    job : Job
    maker : Maker, optional
        What a forked process has at hand already.
    others : sequence of Connection
        The parent's ends that a forked process holds too, which are not its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in others:
        other.close()
    # What came with the fork stays: looking through it for garbage would copy it.
    gc.freeze()
    pa.set_cpu_count(1)
    parent = os.getppid()

    def leave_with_parent() -> None:
        # A parent that was killed cannot end its workers; an orphan ends itself.
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            if maker is None:
                leave_pandas_out(job.formats)
                keep_memory()
                maker = Maker(job)
            _Worker(connection, maker).serve()
        except (EhrsynthError, OSError, MemoryError) as error:
            if isinstance(error, BrokenPipeError | ConnectionResetError):
                raise
            connection.send(error)
            while True:
                # Until the parent, which ends the run, closes its end.
                connection.recv()


class _Worker:
    """Makes tasks in the order they come, and writes the text of each once its turn has come."""

    def __init__(self, connection: Connection, maker: Maker) -> None:
        self._connection, self._maker = connection, maker
        self._staging = Path()
        self._ahead: deque[Make] = deque()
        self._texts: dict[int, _Text] = {}
        self._may_go: set[int] = set()

    def serve(self) -> None:
        """Make what is asked for, until the parent closes the connection (EOFError)."""
        held: BinaryIO | None = None
        try:
            start = self._connection.recv()
            assert isinstance(start, Start)
            self._staging = start.staging
            held = hold(self._staging)
            while True:
                while not self._ahead or self._connection.poll():
                    self._hear(self._connection.recv())
                self._make(self._ahead.popleft())
        finally:
            if held is not None:
                held.close()

    def _hear(self, message: Any) -> None:
        match message:
            case Make():
                self._ahead.append(message)
            case Go(number):
                self._may_go.add(number)
                if number in self._texts and self._texts[number].whole:
                    self._finish(number)

    def _make(self, order: Make) -> None:
        text = self._texts[order.number] = _Text(self._staging)
        for name, part in self._maker.encode(order.task, text.row_counts):
            text.add(name, part)
            while self._connection.poll():
                self._hear(self._connection.recv())
            if text.size > _FLUSH_BYTES and order.number in self._may_go:
                self._flush(order.number, text)
            else:
                text.put_away_more_than(_HELD_BYTES)
        text.whole = True
        if order.number in self._may_go:
            self._finish(order.number)
        else:
            self._connection.send(Made(order.number))

    def _finish(self, number: int) -> None:
        text = self._texts.pop(number)
        self._may_go.discard(number)
        self._flush(number, text)
        self._connection.send(Finished(number, text.row_counts, text.hashes))

    def _flush(self, number: int, text: _Text) -> None:
        self._connection.send(Wanted(number, text.stretches))
        while not isinstance(message := self._connection.recv(), Placed):
            # The turn of a task that is whole cannot come before this one's is over.
            self._hear(message)
        text.write(message.pieces)


@dataclass(slots=True)
class _Text:
    """The text of one task that is not written yet, by format and stretch; what is too much is in a temporary file."""

    staging: Path
    whole: bool = False
    size: int = 0
    row_counts: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, dict[str, bytes]] = field(default_factory=dict)
    stretches: dict[str, list[Stretch]] = field(default_factory=dict)
    _number: dict[tuple[str, str], int] = field(default_factory=dict)
    _parts: dict[tuple[str, int], list[bytes | memoryview]] = field(default_factory=dict)
    _held: int = 0
    _spill: BinaryIO | None = None
    _spilled: dict[tuple[str, int], list[tuple[int, int]]] = field(default_factory=dict)

    def add(self, name: str, part: Part) -> None:
        stretches = self.stretches.setdefault(name, [])
        number = None if part.split_at else self._number.get((name, part.path))
        if number is None:
            number = self._number[name, part.path] = len(stretches)
            stretches.append(Stretch(part.path, part.split_at))
        stretches[number].size += len(part.data)
        stretches[number].rows += part.rows
        self._parts.setdefault((name, number), []).append(part.data)
        self._held += len(part.data)
        self.size += len(part.data)

    def put_away_more_than(self, limit: int) -> None:
        """Keep the text in a file if it is longer than `limit` bytes."""
        if self._held <= limit:
            return
        if self._spill is None:
            # In the staging folder, without a name: the disk of the output has room, and nothing is left of it.
            self._spill = tempfile.TemporaryFile(dir=self.staging)  # noqa: SIM115
        for key, parts in self._parts.items():
            start = self._spill.tell()
            self._spill.writelines(parts)
            self._spilled.setdefault(key, []).append((start, self._spill.tell() - start))
        self._parts, self._held = {}, 0

    def write(self, pieces: dict[str, list[Piece]]) -> None:
        """Write the stretches to their places, one piece each, and forget them; keep sha256 of small new files."""
        for name, some in pieces.items():
            hashes = self.hashes.setdefault(name, {})
            for number, piece in enumerate(some):
                write_at(self.staging / name / piece.path, piece.offset, self._text(name, number))
                if piece.offset == 0 and piece.size <= _SMALL_FILE:
                    digest = hashlib.sha256()
                    for data in self._text(name, number):
                        digest.update(data)
                    hashes[piece.path] = digest.digest()
        if self._spill is not None:
            self._spill.close()
        self.stretches, self._number, self._parts, self._spilled = {}, {}, {}, {}
        self.size, self._held, self._spill = 0, 0, None

    def _text(self, name: str, number: int) -> Iterator[bytes | memoryview]:
        for start, size in self._spilled.get((name, number), ()):
            assert self._spill is not None
            self._spill.seek(start)
            while size:
                data = self._spill.read(min(size, _COPY_BYTES))
                yield data
                size -= len(data)
        yield from self._parts.get((name, number), ())
