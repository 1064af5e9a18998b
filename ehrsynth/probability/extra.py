"""The door to the optional libraries of learning: imported when first asked for, with a clear word when absent."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from ehrsynth.errors import MissingExtraError

__all__ = ["learn_library"]


def learn_library(name: str) -> ModuleType:
    """Import and return a module of the `learn` extra.

    Nothing on the way of generating, exporting or validating asks for one: torch takes seconds to import.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        if name.partition(".")[0] == "pomegranate":
            _import_apricot()
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"This needs {name.partition('.')[0]}, which is not installed.", hint="pip install 'ehrsynth[learn]'"
        ) from error


def _import_apricot() -> None:
    """Import what pomegranate imports, without the compiling that it does on import.

    That takes seconds and 76 MB, for the choice of k-means' first centres, which nothing here asks for; if somebody
    does later, it works, in plain Python.
    """
    if "apricot" in sys.modules or importlib.util.find_spec("numba") is None:
        return
    config = importlib.import_module("numba").config
    before = config.DISABLE_JIT
    config.DISABLE_JIT = 1
    try:
        importlib.import_module("apricot")
    finally:
        config.DISABLE_JIT = before
