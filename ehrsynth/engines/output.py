"""The output folder: everything is written beside it under another name and renamed when whole."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

from ehrsynth.errors import OutputError
from ehrsynth.exporters import Part

__all__ = ["FormatWriter", "Output"]

# One bundle per patient makes thousands of files: keep few open, well under any process limit.
_OPEN_FILES = 64


class FormatWriter:
    """Appends parts to the files of one format and knows their sizes, hashes and rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bytes: dict[str, int] = {}
        self.rows: dict[str, int] = {}
        self._digests: dict[str, Any] = {}
        self._open: OrderedDict[str, BinaryIO] = OrderedDict()
        self._series: dict[str, int] = {}

    def write(self, parts: Iterable[Part]) -> None:
        """Append `parts` in order."""
        for part in parts:
            path = self._numbered(part) if part.split_at else part.path
            handle = self._handle(path)
            handle.write(part.data)
            self._digests[path].update(part.data)
            self.bytes[path] += len(part.data)
            self.rows[path] += part.rows

    def _numbered(self, part: Part) -> str:
        """The file of a series that `part` belongs in: the last one, or the next where it would grow too large."""
        number = self._series.setdefault(part.path, 0)
        path = _with_number(part.path, number)
        if self.bytes.get(path) and self.bytes[path] + len(part.data) > part.split_at:
            self._series[part.path] += 1
            path = _with_number(part.path, number + 1)
        return path

    def _handle(self, path: str) -> BinaryIO:
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        if path not in self.bytes:
            target = self.folder / path
            if not target.resolve().is_relative_to(self.folder.resolve()):
                raise OutputError("An exporter wrote outside its folder.", file=path)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.bytes[path], self.rows[path], self._digests[path] = 0, 0, hashlib.sha256()
        if len(self._open) >= _OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        handle = (self.folder / path).open("ab")
        self._open[path] = handle
        return handle

    def close(self) -> None:
        """Close all files; raises what the operating system says if the last bytes did not fit."""
        while self._open:
            self._open.popitem()[1].close()

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """``path: {bytes, sha256, rows}`` of every file, by name."""
        return {
            path: {"bytes": self.bytes[path], "sha256": self._digests[path].hexdigest(), "rows": self.rows[path]}
            for path in sorted(self.bytes)
        }


def _with_number(path: str, number: int) -> str:
    folder, _, name = path.rpartition("/")
    stem, dot, suffixes = name.partition(".")
    return f"{folder}/{stem}.{number:03d}{dot}{suffixes}".lstrip("/")


class Output:
    """A folder that appears under its name only when everything in it is there.

    Parameters
    ----------
    folder : Path
        Where the output goes; it may exist if it is empty.

    Raises
    ------
    OutputError
        It exists and is not empty, is a file, or cannot be written to.

    Examples
    --------
    >>> with Output(Path("out")) as output:  # doctest: +SKIP
    ...     output.format("csv").write(parts)
    ...     output.write_json("manifest.json", {...})
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if folder.exists() or folder.is_symlink():
            if not folder.is_dir():
                raise OutputError("The output is an existing file.", file=folder, hint="Name a folder.")
            if any(folder.iterdir()):
                raise OutputError(
                    "The output folder exists and is not empty.", file=folder, hint="Name another or remove it first."
                )
        # Hidden and beside it: the rename must stay within one file system.
        self.staging = folder.absolute().parent / f".{folder.absolute().name}.partial"
        self._formats: dict[str, FormatWriter] = {}

    def __enter__(self) -> Self:
        with _as_output_errors(self.folder):
            if self.staging.exists():
                shutil.rmtree(self.staging)
            self.staging.mkdir(parents=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            for writer in self._formats.values():
                self._close_quietly(writer)
            shutil.rmtree(self.staging, ignore_errors=True)
            if isinstance(error, OSError):
                raise _output_error(error, self.folder) from None
            return
        try:
            with _as_output_errors(self.folder):
                for writer in self._formats.values():
                    writer.close()
                if self.folder.is_dir():
                    self.folder.rmdir()
                self.staging.replace(self.folder)
        except OutputError:
            shutil.rmtree(self.staging, ignore_errors=True)
            raise

    @staticmethod
    def _close_quietly(writer: FormatWriter) -> None:
        try:
            writer.close()
        except OSError:
            # The output is being thrown away; the first error is the one to report.
            return

    def format(self, name: str) -> FormatWriter:
        """Return the writer of the sub-folder of format `name`."""
        if name not in self._formats:
            self._formats[name] = FormatWriter(self.staging / name)
        return self._formats[name]

    def write_json(self, name: str, document: Any) -> None:
        """Write a JSON document at the top of the output."""
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        (self.staging / name).write_text(text, encoding="utf-8")


@contextmanager
def _as_output_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _output_error(error, folder) from None


def _output_error(error: OSError, folder: Path) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            "The disk is full; nothing was left behind.", file=folder, hint="Free space or name a folder elsewhere."
        )
    return OutputError(f"The output cannot be written: {error.strerror or error}.", file=error.filename or folder)
