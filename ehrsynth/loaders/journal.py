"""What has been sent, line by line on the disk, so that a load that was killed goes on where it stopped."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ehrsynth.errors import OutputError

__all__ = ["Journal"]

_FORMAT = "ehrsynth-load-journal"


class Journal:
    """An append-only file of JSON lines: the server, then for every parcel that it was begun, and that it is done.

    A parcel is known by its name and a digest of its bytes, so that changed data are sent again.

    Parameters
    ----------
    path : Path
    server : str
        Base URL; a journal of another server is refused.

    Raises
    ------
    OutputError
        The journal is another server's, no journal at all, or cannot be written.
    """

    def __init__(self, path: Path, server: str) -> None:
        self.path = path
        self._server = server
        self._lock = threading.Lock()
        self._done: set[tuple[str, str]] = set()
        self._begun: set[tuple[str, str]] = set()
        self._handle: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            torn = self._read()
            self._handle = self.path.open("ab")
            if torn is None:
                self._write({"format": _FORMAT, "format_number": 1, "server": self._server})
            elif torn:
                # The last line was cut off when the process died: it must not swallow the next.
                self._handle.write(b"\n")
        except OSError as error:
            raise OutputError(
                f"The journal cannot be kept: {error.strerror or error}.",
                file=self.path,
                hint="Name a place that can be written with --journal.",
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.close()

    def _read(self) -> bool | None:
        """Read what is there: whether its last line is cut off, None if there is nothing."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return None
        data = self.path.read_bytes()
        for number, line in enumerate(data.splitlines()):
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            if number == 0:
                self._check_head(entry)
            elif isinstance(entry, dict) and isinstance(entry.get("parcel"), str):
                key = (entry["parcel"], str(entry.get("digest")))
                self._begun.discard(key)
                if entry.get("state") in ("done", "begun"):
                    (self._done if entry["state"] == "done" else self._begun).add(key)
        return not data.endswith(b"\n")

    def _check_head(self, entry: Any) -> None:
        if not isinstance(entry, dict) or entry.get("format") != _FORMAT:
            raise OutputError("This is no journal of ours.", file=self.path, hint="Name another file with --journal.")
        if entry.get("server") != self._server:
            raise OutputError(
                f"The journal is of a load to {entry.get('server')}.",
                file=self.path,
                hint="Name another with --journal, or remove it if that load is over.",
            )

    def is_done(self, name: str, digest: str) -> bool:
        """Whether the parcel was loaded."""
        return (name, digest) in self._done

    def was_begun(self, name: str, digest: str) -> bool:
        """Whether the parcel was sent by an earlier run that did not live to see the answer."""
        return (name, digest) in self._begun

    def begin(self, name: str, digest: str) -> None:
        """Note that a parcel is about to be sent."""
        self._write({"state": "begun", "parcel": name, "digest": digest})

    def refuse(self, name: str, digest: str) -> None:
        """Note that the server refused the parcel: nothing of it is there."""
        self._write({"state": "refused", "parcel": name, "digest": digest})

    def done(self, name: str, digest: str) -> None:
        """Note that a parcel is loaded; on the disk before this returns."""
        with self._lock:
            self._done.add((name, digest))
        self._write({"state": "done", "parcel": name, "digest": digest}, sync=True)

    def _write(self, entry: dict[str, Any], *, sync: bool = False) -> None:
        assert self._handle is not None
        with self._lock:
            self._handle.write(json.dumps(entry).encode() + b"\n")
            self._handle.flush()
            if sync:
                os.fsync(self._handle.fileno())
