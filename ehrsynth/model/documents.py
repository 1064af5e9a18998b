"""Frozen dataclasses to and from JSON documents and arrays, by their type hints: no pickle, nothing executable."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from ehrsynth.errors import ModelError

__all__ = ["Arrays", "from_document", "to_document"]

Arrays = dict[str, np.ndarray[Any, Any]]
_ARRAY = "$array"
_FLOAT = "$float"


def to_document(value: Any, arrays: Arrays, name: str) -> Any:
    """Return `value` as JSON-serialisable data; numpy arrays go to `arrays` under dotted names that start with `name`.

    Dataclasses become objects, tuples lists, infinities and NaN (which JSON has not) tagged strings.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: to_document(getattr(value, item.name), arrays, f"{name}.{item.name}")
            for item in dataclasses.fields(value)
            if item.init and item.repr
        }
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"{name}: arrays of {value.dtype} are not stored; use a tuple of str")
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, (tuple, list)):
        if all(type(item) is str for item in value):
            return list(value)
        return [to_document(item, arrays, f"{name}.{index}") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(key): to_document(item, arrays, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{name}: {type(value).__name__} cannot be stored in a model package")


def from_document(kind: Any, document: Any, arrays: Mapping[str, np.ndarray[Any, Any]], place: str = "model") -> Any:
    """Return the object of type `kind` that `document` describes.

    Raises
    ------
    ModelError
        A field is missing, or of another type than `kind` says.
    """
    document = _plain(document, arrays, place)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, document, arrays, place)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(kind), document, arrays, place)
    if origin is np.ndarray or kind is np.ndarray:
        return _expect(document, np.ndarray, place)
    if origin is tuple:
        items = _expect(document, list, place)
        inner = typing.get_args(kind)
        kinds = [inner[0]] * len(items) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
        if inner == (str, ...) and all(type(item) is str for item in items):
            # Listings are columns of thousands of texts.
            return tuple(items)
        if len(kinds) != len(items):
            raise ModelError(f"{place} has {len(items)} items instead of {len(kinds)}.")
        return tuple(
            from_document(k, item, arrays, f"{place}.{i}") for i, (k, item) in enumerate(zip(kinds, items, strict=True))
        )
    if origin is dict:
        key_kind, item_kind = typing.get_args(kind)
        found = _expect(document, dict, place)
        return {key_kind(key): from_document(item_kind, item, arrays, f"{place}.{key}") for key, item in found.items()}
    if kind is Any:
        return document
    if kind is float:
        return float(_expect(document, (int, float), place))
    return _expect(document, kind, place)


def _plain(document: Any, arrays: Mapping[str, np.ndarray[Any, Any]], place: str) -> Any:
    """Resolve the tags of arrays and of floats that JSON cannot write."""
    if isinstance(document, dict):
        if _ARRAY in document:
            name = document[_ARRAY]
            if name not in arrays:
                raise ModelError(f"{place} refers to the array {name!r}, which the package does not hold.")
            return arrays[name]
        if _FLOAT in document:
            try:
                return float(document[_FLOAT])
            except (TypeError, ValueError):
                raise ModelError(f"{place} is not a number.") from None
    return document


@functools.cache
def _fields(kind: Any) -> tuple[dict[str, Any], dict[str, dataclasses.Field[Any]]]:
    """Return the types and the stored fields of a dataclass; once a class, a model has hundreds of objects."""
    return typing.get_type_hints(kind), {f.name: f for f in dataclasses.fields(kind) if f.init and f.repr}


def _dataclass(kind: Any, document: Any, arrays: Mapping[str, np.ndarray[Any, Any]], place: str) -> Any:
    values = _expect(document, dict, place)
    hints, known = _fields(kind)
    surplus = sorted(set(values) - set(known))
    if surplus:
        raise ModelError(f"{place} has the unknown field {surplus[0]!r}.")
    given = {}
    for name, item in known.items():
        if name in values:
            given[name] = from_document(hints[name], values[name], arrays, f"{place}.{name}")
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise ModelError(f"{place} lacks the field {name!r}.")
    try:
        return kind(**given)
    except ValueError as error:
        raise ModelError(f"{place} is inconsistent: {error}") from None


def _union(kinds: tuple[Any, ...], document: Any, arrays: Mapping[str, np.ndarray[Any, Any]], place: str) -> Any:
    if document is None and type(None) in kinds:
        return None
    last: ModelError | None = None
    for kind in kinds:
        if kind is type(None):
            continue
        # bool is an int to Python and an int is a float to us: the exact type first.
        if isinstance(kind, type) and kind in (bool, int, float, str) and type(document) is not kind:
            continue
        try:
            return from_document(kind, document, arrays, place)
        except ModelError as error:
            last = error
    raise last or ModelError(f"{place} has a value of type {type(document).__name__}.")


def _expect(value: Any, kind: Any, place: str) -> Any:
    # bool is a subclass of int, but true is no number in a model.
    fits = isinstance(value, kind) and (not isinstance(value, bool) or kind is bool)
    if not fits:
        wanted = kind.__name__ if isinstance(kind, type) else "number"
        raise ModelError(f"{place} is {type(value).__name__}, not {wanted}.")
    return value
