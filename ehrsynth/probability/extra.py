"""The door to the optional libraries of learning: imported when first asked for, with a clear word when absent."""

from __future__ import annotations

import importlib
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
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"This needs {name.partition('.')[0]}, which is not installed.", hint="pip install 'ehrsynth[learn]'"
        ) from error
