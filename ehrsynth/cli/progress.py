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
    """Show a bar on the terminal's error stream; silent when that is piped. Ctrl-C ends what is done meanwhile.

    Without `at_once` it appears when there is something to show: it is drawn by a thread, and a process with threads
    cannot be forked.
    """
    from pyarrow import enable_signal_handlers

    # While Arrow reads a file it takes signals itself, to stop half-way, and loses one that comes as the reading ends.
    enable_signal_handlers(False)
    try:
        with _bar(title, at_once) as update:
            yield update
    finally:
        enable_signal_handlers(True)


@contextmanager
def _bar(title: str, at_once: bool) -> Iterator[ProgressBar]:
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
