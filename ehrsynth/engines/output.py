"""The output folder: everything is written beside it under another name and renamed when whole."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson

from ehrsynth.engines.files import FormatWriter
from ehrsynth.engines.journal import JOURNAL, Journal, Progress, read_journal
from ehrsynth.errors import OutputError

__all__ = ["FormatWriter", "Output", "hold"]

_LOCK = "lock"
# Workers of a run that was killed notice within half a second.
_PATIENCE_SECONDS = 5.0


class Output:
    """A folder that appears under its name only when everything in it is there.

    Parameters
    ----------
    folder : Path
        Where the output goes; it may exist if it is empty.
    run : mapping, optional
        What is being made, as JSON; with it a journal is kept.
    resume : bool
        Go on where an interrupted run of the same `run` ended (`progress`), and keep what is whole if this one is
        interrupted as well. Without it everything is made anew, and a failure leaves nothing.

    Raises
    ------
    OutputError
        It exists and is not empty, is a file, cannot be written to, or another run is writing to it.
    UsageError
        It is to be resumed, but what was interrupted was another run.

    Examples
    --------
    >>> with Output(Path("out")) as output:  # doctest: +SKIP
    ...     output.format("csv").write(parts)
    ...     output.write_json("manifest.json", {...})
    """

    def __init__(self, folder: Path, *, run: Mapping[str, Any] | None = None, resume: bool = False) -> None:
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
        self.progress = Progress()
        self._run = run
        self._resume = resume
        self._formats: dict[str, FormatWriter] = {}
        self._journal: Journal | None = None
        self._held: BinaryIO | None = None

    def __enter__(self) -> Self:
        with _as_output_errors(self.folder, kept=self._resume):
            self.staging.mkdir(parents=True, exist_ok=True)
            self._held = hold(self.staging, alone=True)
            try:
                self._begin()
            except BaseException:
                self._let_go()
                raise
        return self

    def _begin(self) -> None:
        again = self._resume and self._run is not None and (self.staging / JOURNAL).exists()
        if again and self._run is not None:
            self.progress = read_journal(self.staging, self._run)
        if self.progress.blocks < 0:
            for path in self.staging.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != _LOCK:
                    path.unlink()
        for name, files in self.progress.files.items():
            self.format(name).restore(files)
        if self._run is not None:
            self._journal = Journal(self.staging, self._run if self.progress.blocks < 0 else None)

    def record(self, block: int, patients: int, row_counts: Mapping[str, int]) -> None:
        """Note in the journal, if there is one, that a block is written and hashed (-1: what comes before them)."""
        if self._journal is None:
            return
        grown = {name: writer.changed() for name, writer in self._formats.items()}
        self._journal.record(block, patients, row_counts, grown)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            for writer in self._formats.values():
                self._close_quietly(writer)
            self._give_up()
            if isinstance(error, OSError):
                raise _output_error(error, self.folder, kept=self._resume) from None
            return
        try:
            with _as_output_errors(self.folder, kept=self._resume):
                for writer in self._formats.values():
                    writer.close()
                self._let_go()
                (self.staging / JOURNAL).unlink(missing_ok=True)
                (self.staging / _LOCK).unlink(missing_ok=True)
                if self.folder.is_dir():
                    self.folder.rmdir()
                self.staging.replace(self.folder)
        except OutputError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        self._let_go()
        if not (self._resume and (self.staging / JOURNAL).exists()):
            shutil.rmtree(self.staging, ignore_errors=True)

    def _let_go(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._held is not None:
            self._held.close()
            self._held = None

    @staticmethod
    def _close_quietly(writer: FormatWriter) -> None:
        try:
            writer.close()
        except OSError:
            # The output is being thrown away or cut back; the first error is the one to report.
            return

    def format(self, name: str) -> FormatWriter:
        """Return the writer of the sub-folder of format `name`."""
        if name not in self._formats:
            self._formats[name] = FormatWriter(self.staging / name)
        return self._formats[name]

    def write_json(self, name: str, document: Any) -> None:
        """Write a JSON document at the top of the output."""
        # A bundle per patient makes a manifest of thousands of entries: the standard library takes a second for them.
        (self.staging / name).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def hold(staging: Path, *, alone: bool = False) -> BinaryIO | None:
    """Hold `staging` until the file returned is closed; `alone`: only once nobody else holds it.

    So that two runs never write to one folder, and a resumed run waits until the last worker of the one that was killed
    has gone. None where the system has no such locks (Windows).

    Raises
    ------
    OutputError
        Somebody else holds it, and still does after some seconds.
    """
    try:
        import fcntl
    except ImportError:
        return None
    handle = (staging / _LOCK).open("ab")
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while alone:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                handle.close()
                raise OutputError(
                    "Another run is writing to this output.", file=staging, hint="Wait for it, or name another folder."
                ) from None
            time.sleep(0.05)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


@contextmanager
def _as_output_errors(folder: Path, *, kept: bool) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _output_error(error, folder, kept=kept) from None


def _output_error(error: OSError, folder: Path, *, kept: bool) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        if kept:
            return OutputError(
                "The disk is full; the blocks that are whole were kept.",
                file=folder,
                hint="Free space and run the same command again.",
            )
        return OutputError(
            "The disk is full; nothing was left behind.", file=folder, hint="Free space or name a folder elsewhere."
        )
    return OutputError(f"The output cannot be written: {error.strerror or error}.", file=error.filename or folder)
