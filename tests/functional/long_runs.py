"""Runs that are still going on when a test interrupts them, and that end with the test whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

POPULATION = 400_000
"""More than a test waits for, and, should nothing end it, less than fills a disk."""


def _hear_ctrl_c() -> None:
    # A job that a shell runs in the background ignores Ctrl-C, and so would everything that it starts.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a session of its own; at the end nothing of it is left."""
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_hear_ctrl_c
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
