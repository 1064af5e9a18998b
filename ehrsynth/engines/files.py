"""The files of one format as they grow: bytes, rows and hashes, appended here or written at their places by workers."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ehrsynth.errors import OutputError
from ehrsynth.exporters import Part

__all__ = ["FormatWriter", "Piece", "cut", "write_at"]

# One bundle per patient makes thousands of files: keep few open, well under any process limit.
_OPEN_FILES = 64
_READ_BYTES = 1 << 20
_PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Piece:
    """What a worker wrote: `size` bytes with `rows` rows at `offset` of a file, and their sha256 if it took it."""

    path: str
    offset: int
    size: int
    rows: int
    sha256: bytes | None = None


@dataclass(slots=True)
class _File:
    """`size` is planned; `rows` and `sha256` are of the first `hashed` bytes, which are written."""

    size: int = 0
    rows: int = 0
    hashed: int = 0
    sha256: bytes = hashlib.sha256().digest()


class FormatWriter:
    """Appends parts to the files of one format and knows their sizes, hashes and rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, _File] = {}
        # A running hash costs memory: few are kept, the others are taken up again from the file if it grows once more.
        self._digests: OrderedDict[str, Any] = OrderedDict()
        self._open: OrderedDict[str, BinaryIO] = OrderedDict()
        self._folders: set[str] = set()
        self._changed: dict[str, None] = {}
        self._series: dict[str, int] = {}

    def write(self, parts: Iterable[Part]) -> None:
        """Append `parts` in order."""
        for part in parts:
            path, _ = self.reserve(part.path, len(part.data), part.split_at)
            file = self._files[path]
            digest, handle = self._digest(path, file), self._handle(path)
            for piece in cut(part.data):
                # In this order: what was hashed is in the processor's cache when it is written.
                digest.update(piece)
                handle.write(piece)
            file.hashed += len(part.data)
            file.rows += part.rows
            self._changed[path] = None

    def reserve(self, path: str, size: int, split_at: int = 0) -> tuple[str, int]:
        """Return the file and the offset where the next `size` bytes go.

        If somebody else writes them, `settle` is told. With `split_at` the file is the last of a series, or the next
        one where it would grow larger than so many bytes.
        """
        if split_at:
            number = self._series.get(path, 0)
            # A resumed run knows the files of the series, not its number.
            while _with_number(path, number + 1) in self._files:
                number += 1
            last = self._files.get(_with_number(path, number))
            if last is not None and last.size and last.size + size > split_at:
                number += 1
            self._series[path] = number
            path = _with_number(path, number)
        file = self._known(path)
        file.size += size
        return path, file.size - size

    def settle(self, pieces: Iterable[Piece]) -> None:
        """Hash what was written elsewhere, read from the file; pieces of a file come in the order of their offsets."""
        for piece in pieces:
            file = self._files[piece.path]
            if file.hashed == 0 and piece.sha256 is not None:
                file.sha256 = piece.sha256
            else:
                digest = self._digest(piece.path, file)
                self._read(piece.path, digest, piece.offset, piece.size)
            file.hashed += piece.size
            file.rows += piece.rows
            self._changed[piece.path] = None

    def changed(self) -> dict[str, tuple[int, int, str]]:
        """Return bytes and rows so far, and sha256, of every file that grew since the last call."""
        self.flush()
        names, self._changed = self._changed, {}
        return {path: (self._files[path].hashed, self._files[path].rows, self._sha256(path)) for path in names}

    def restore(self, files: Mapping[str, tuple[int, int, str]]) -> None:
        """Cut the files back to what is known of them (bytes, rows, sha256) and remove all others.

        Raises
        ------
        OutputError
            A file is shorter than that, or its bytes are others.
        """
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.relative_to(self.folder).as_posix() not in files:
                path.unlink()
        for name, (size, rows, sha256) in files.items():
            file = self._known(name)
            target = self.folder / name
            if target.is_file() and target.stat().st_size >= size:
                os.truncate(target, size)
                digest = self._digest(name, file)
                self._read(name, digest, 0, size)
                file.size, file.rows, file.hashed = size, rows, size
                if digest.hexdigest() == sha256:
                    continue
            raise OutputError(
                "What the interrupted run left is not what its journal says.",
                file=target,
                hint="Run again without --resume: that starts anew.",
            )

    def adopt(self, path: str, rows: int) -> None:
        """Take a whole file that somebody else has written in the folder."""
        file = self._known(path)
        file.size, file.rows, file.hashed = (self.folder / path).stat().st_size, rows, 0
        self._digests.pop(path, None)
        digest = self._digest(path, file)
        self._read(path, digest, 0, file.size)
        file.hashed = file.size

    def drop(self, folder: str) -> None:
        """Remove the files under `folder` (ended by a slash) and forget them."""
        for path in [path for path in self._files if path.startswith(folder)]:
            del self._files[path]
            self._digests.pop(path, None)
            self._changed.pop(path, None)
            if path in self._open:
                self._open.pop(path).close()
        shutil.rmtree(self.folder / folder, ignore_errors=True)

    def _known(self, path: str) -> _File:
        if path not in self._files:
            parent = path.rpartition("/")[0]
            if path.startswith("/") or ".." in path.split("/") or "\\" in path or ":" in path:
                raise OutputError("An exporter wrote outside its folder.", file=path)
            if parent not in self._folders:
                (self.folder / parent).mkdir(parents=True, exist_ok=True)
                self._folders.add(parent)
            self._files[path] = _File()
        return self._files[path]

    def _digest(self, path: str, file: _File) -> Any:
        if path in self._digests:
            self._digests.move_to_end(path)
            return self._digests[path]
        if len(self._digests) >= _OPEN_FILES:
            other, digest = self._digests.popitem(last=False)
            self._files[other].sha256 = digest.digest()
        digest = hashlib.sha256()
        if file.hashed:
            self._read(path, digest, 0, file.hashed)
        self._digests[path] = digest
        return digest

    def _read(self, path: str, digest: Any, offset: int, size: int) -> None:
        """Feed bytes of a file to `digest`; a buffer that stays in the processor's cache is faster than a mapping."""
        if path in self._open:
            self._open[path].flush()
        buffer = memoryview(bytearray(min(size, _READ_BYTES)))
        with (self.folder / path).open("rb", buffering=0) as handle:
            handle.seek(offset)
            while size:
                count = handle.readinto(buffer[: min(size, _READ_BYTES)])
                if not count:
                    raise OutputError("A file is shorter than what was written to it.", file=self.folder / path)
                digest.update(buffer[:count])
                size -= count

    def _sha256(self, path: str) -> str:
        text: str = self._digests[path].hexdigest() if path in self._digests else self._files[path].sha256.hex()
        return text

    def _handle(self, path: str) -> BinaryIO:
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        if len(self._open) >= _OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        handle = (self.folder / path).open("ab")
        self._open[path] = handle
        return handle

    def flush(self) -> None:
        """Hand everything over to the operating system."""
        for handle in self._open.values():
            handle.flush()

    def close(self) -> None:
        """Close all files; raises what the operating system says if the last bytes did not fit."""
        while self._open:
            self._open.popitem()[1].close()

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """``path: {bytes, sha256, rows}`` of every file, by name."""
        return {
            path: {"bytes": file.size, "sha256": self._sha256(path), "rows": file.rows}
            for path, file in sorted(self._files.items())
        }


def cut(data: bytes | memoryview) -> Iterator[bytes | memoryview]:
    """Yield `data` some hundred kilobytes at a time: a system copies what is in a cache four times as fast."""
    if len(data) <= _PIECE_BYTES:
        yield data
        return
    view = memoryview(data)
    for start in range(0, len(view), _PIECE_BYTES):
        yield view[start : start + _PIECE_BYTES]


def _with_number(path: str, number: int) -> str:
    folder, _, name = path.rpartition("/")
    stem, dot, suffixes = name.partition(".")
    return f"{folder}/{stem}.{number:03d}{dot}{suffixes}".lstrip("/")


def write_at(path: Path, offset: int, parts: Iterable[bytes | memoryview]) -> None:
    """Write `parts` one after the other from `offset` on, into a file that others write to elsewhere."""
    # Neither "wb", which empties the file, nor "ab", which ignores the place.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(descriptor, "wb") as handle:
        handle.seek(offset)
        for part in parts:
            for piece in cut(part):
                handle.write(piece)
