"""A quick start of processes that do nothing but generate: pandas stays out until somebody asks for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pyarrow as pa

from ehrsynth import plugins

__all__ = ["leave_pandas_out"]


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
