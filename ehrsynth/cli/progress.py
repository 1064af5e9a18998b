"""A bar that shows how far a command is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

__all__ = ["ProgressBar", "is_watched", "progress_bar"]


class ProgressBar(Protocol):
    """What commands call while they work."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` are done."""
        ...


def is_watched(stream: TextIO) -> bool:
    """Whether somebody looks at a stream, or says so by rich's environment; what is not watched does not need rich."""
    return stream.isatty() or "FORCE_COLOR" in os.environ or "TTY_COMPATIBLE" in os.environ


@contextmanager
def progress_bar(title: str, *, at_once: bool = True) -> Iterator[ProgressBar]:
    """Show a bar on the terminal's error stream; silent when that is piped.

    Without `at_once` it appears when there is something to show: it is drawn by a thread, and a process with threads
    cannot be forked.
    """
    if not is_watched(sys.stderr):
        # Before rich is imported: the first patient does not wait for a bar that nobody sees.
        yield lambda done, total, note="": None
        return
    from ehrsynth.cli.console import error_console

    if not error_console.is_terminal:
        yield lambda done, total, note="": None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=error_console, transient=True)
    task = progress.add_task(title, total=None, note="")

    def update(done: int, total: int, note: str = "") -> None:
        progress.start()
        progress.update(task, completed=done, total=total, note=note)

    try:
        if at_once:
            progress.start()
        yield update
    finally:
        progress.stop()
