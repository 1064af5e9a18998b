"""What a quick start of the command line leaves out.

Of all commands the one that is wanted is made; its options are read without pydantic, which typer asks for every number
and text; and pyarrow's functions get no documentation, which it would read out of the docstrings of their options.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["QuickCommand", "QuickGroup", "import_compute", "only"]

_INTEGER = re.compile(r"-?[0-9]{1,18}\Z").match
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?\Z").match


_DOCSCRAPE = "pyarrow.vendored.docscrape"


def import_compute() -> None:
    """Import ``pyarrow.compute``, whose functions then lack the descriptions of their options.

    For a process of our own only. Where pyarrow has been imported already, or is laid out in another way, nothing is
    done, or everything as always.
    """
    if "pyarrow.compute" in sys.modules or _DOCSCRAPE in sys.modules:
        return
    nothing = ModuleType(_DOCSCRAPE)
    vars(nothing)["NumpyDocString"] = lambda text: {"Parameters": []}
    import pyarrow.vendored

    sys.modules[_DOCSCRAPE] = nothing
    pyarrow.vendored.docscrape = nothing
    try:
        import pyarrow.compute
    finally:
        del sys.modules[_DOCSCRAPE], pyarrow.vendored.docscrape


def only(app: typer.Typer, words: list[str]) -> typer.Typer:
    """Return `app` with the command that `words` begin with alone, if it has it: typer makes a parser for each."""
    wanted = [command for command in app.registered_commands if words[:1] == [command.name]]
    if not wanted:
        return app
    one = copy.copy(app)
    one.registered_commands, one.registered_groups = wanted, []
    return one


class QuickCommand(TyperCommand):
    """Takes plain values as they are; what is not plain, and every error, is left to typer."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, as typer does, with a quick way for plain values."""
        return [_quickened(parameter) for parameter in super().get_params(ctx)]


class QuickGroup(TyperGroup):
    """The same for what stands before the name of a command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, as typer does, with a quick way for plain values."""
        return [_quickened(parameter) for parameter in super().get_params(ctx)]


def _quickened(parameter: Any) -> Any:
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if kind is not None and not parameter.required and "process_value" not in vars(parameter):
        parameter.process_value = _process(parameter, kind, parameter.process_value)
    return parameter


def _process(parameter: Any, kind: Any, slowly: Callable[..., Any]) -> Callable[..., Any]:
    several = parameter.multiple or parameter.nargs == -1
    of = get_args(kind)[0] if several and get_origin(kind) is list else kind

    def process(ctx: Any, value: Any) -> Any:
        made: Any
        if value is None:
            made = () if several else None
        else:
            try:
                made = [_plain(of, item) for item in value] if several else _plain(of, value)
            except (TypeError, ValueError):
                return slowly(ctx, value)
        return made if parameter.callback is None else parameter.callback(ctx, parameter, made)

    return process


def _plain(kind: Any, value: Any) -> Any:
    """Return `value` as `kind`; ValueError or TypeError if that is not plain."""
    if kind in (bool, str) and isinstance(value, kind):
        return value
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is int and (type(value) is int or _INTEGER(value)):
        return int(value)
    if kind is float and (type(value) is float or _NUMBER(value)):
        return float(value)
    raise ValueError(value)
