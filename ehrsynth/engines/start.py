"""A quick start of processes that do nothing but generate: pandas stays out until somebody asks for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ehrsynth import plugins

__all__ = ["give_memory_back", "keep_memory", "leave_pandas_out"]

# glibc's malloc.h: which setting, and its value in bytes.
_SETTINGS = {-1: 512 << 20, -2: 64 << 20, -3: 32 << 20}
"""Give memory back from 512 MB on (M_TRIM_THRESHOLD), ask for 64 MB more than is needed (M_TOP_PAD), and go past the
heap for 32 MB and more only (M_MMAP_THRESHOLD)."""


class _NotNow:
    """Finds that there is no pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is left out for a quick start", name=name)


def leave_pandas_out(formats: Sequence[str]) -> None:
    """Let pyarrow find no pandas when it looks for it, at the first array that it makes: a fifth of the start-up.

    For a process of our own only, as it changes what pyarrow makes of pandas' objects. ``to_pandas`` looks again and
    finds it; strangers' exporters might pass pandas' objects to pyarrow, so with one of them nothing is done.

    Raises
    ------
    UsageError
        There is no such format.
    """
    exporters = [plugins.load("ehrsynth.exporters", name) for name in formats]
    if "pandas" in sys.modules or any(exporter.__module__.split(".")[0] != "ehrsynth" for exporter in exporters):
        return
    sys.meta_path.insert(0, _NotNow)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NotNow)


def keep_memory() -> None:
    """Let glibc keep the memory of arrays that are gone for those that come next.

    Every part of a block needs the same again; the system would have to find and clear it each time. For a process of
    our own only. Without glibc nothing is done.
    """
    adjust = _of_the_system("mallopt")
    if adjust is not None:
        for setting, value in _SETTINGS.items():
            adjust(setting, value)


def give_memory_back() -> None:
    """Give back what is free among what is not: every part leaves other gaps, and memory would grow with them."""
    pa.default_memory_pool().release_unused()
    trim = _of_the_system("malloc_trim")
    if trim is not None:
        trim(0)


def _of_the_system(name: str) -> Any:
    """Return a function of glibc, None where there is none."""
    if sys.platform != "linux":
        return None
    import ctypes

    return getattr(ctypes.CDLL(None), name, None)
