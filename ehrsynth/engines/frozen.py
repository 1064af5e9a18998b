"""Objects of ours as files, and back: plain values, numpy arrays, Arrow tables and what is made of them.

No pickle: of a class only its name is written, and only classes of this package are made again. Arrays are mapped into
memory when a file is read, so what nobody looks at costs nothing.
"""

from __future__ import annotations

import importlib
import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["freeze", "thaw"]

_ALIGN = 64
_LENGTH_BYTES = 8
_PACKAGE = "ehrsynth."


def freeze(thing: Any, path: Path) -> None:
    """Write `thing` to a new file that only its owner reads.

    Parameters
    ----------
    thing
        None, truth values, numbers, text, tuples, lists, mappings, arrays (of numbers or of text of one width), Arrow
        tables, and objects of classes of this package whose attributes are such.
    path : Path

    Raises
    ------
    TypeError
        Something else is among them.
    """
    writer = _Writer()
    root = writer.told(thing)
    at, places = 0, []
    for block in writer.blocks:
        places.append([at, block.nbytes])
        at += -(-block.nbytes // _ALIGN) * _ALIGN
    head = json.dumps([root, writer.objects, writer.kinds, places]).encode()
    start = -(-(_LENGTH_BYTES + len(head)) // _ALIGN) * _ALIGN
    with path.open("xb") as file:
        file.write(len(head).to_bytes(_LENGTH_BYTES, "little") + head)
        for (place, _), block in zip(places, writer.blocks, strict=True):
            file.seek(start + place)
            file.write(block)


def thaw(path: Path) -> Any:
    """Return what was written to a file by `freeze`; its arrays may be written to, which leaves the file as it is."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    root, objects, kinds, places = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
    start = -(-(_LENGTH_BYTES + length) // _ALIGN) * _ALIGN
    return _Reader(data, start, objects, kinds, places).made(root)


class _Writer:
    """What is written of objects (each once, however often it is named) and of the bytes of arrays and tables."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self.kinds: list[Any] = []
        self.blocks: list[Any] = []
        # What was seen is kept alive, so that no number stands for two things.
        self._seen: dict[int, tuple[Any, Any]] = {}

    def told(self, thing: Any) -> Any:
        """Return `thing` in JSON; names of places where it does not fit."""
        if thing is None or isinstance(thing, bool | int | str):
            return thing
        if isinstance(thing, np.generic):
            return self.told(thing.item())
        if isinstance(thing, float):
            return ["f", thing.hex()]
        if isinstance(thing, tuple | list):
            return ["t" if isinstance(thing, tuple) else "l", [self.told(one) for one in thing]]
        if isinstance(thing, dict):
            return ["d", [[self.told(key), self.told(value)] for key, value in thing.items()]]
        if id(thing) not in self._seen:
            self._seen[id(thing)] = (thing, self._placed(thing))
        return self._seen[id(thing)][1]

    def _placed(self, thing: Any) -> Any:
        if isinstance(thing, np.ndarray):
            if thing.dtype.hasobject:
                raise TypeError(f"an array of {thing.dtype} cannot be written")
            return self._block(np.ascontiguousarray(thing).reshape(-1).view(np.uint8), thing.dtype.str, thing.shape)
        if isinstance(thing, pa.Table):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, thing.schema) as stream:
                stream.write_table(thing)
            return self._block(np.frombuffer(sink.getvalue(), np.uint8), "table", ())
        kind = type(thing)
        if not kind.__module__.startswith(_PACKAGE) or not hasattr(thing, "__dict__"):
            raise TypeError(f"{kind.__module__}.{kind.__qualname__} cannot be written")
        self.objects.append([kind.__module__, kind.__qualname__, {k: self.told(v) for k, v in vars(thing).items()}])
        return ["o", len(self.objects) - 1]

    def _block(self, data: Any, kind: str, shape: tuple[int, ...]) -> Any:
        self.kinds.append([kind, list(shape)])
        self.blocks.append(data)
        return ["a", len(self.blocks) - 1]


class _Reader:
    def __init__(self, data: mmap.mmap, start: int, objects: list[Any], kinds: list[Any], places: list[Any]) -> None:
        self._data, self._start = data, start
        self._objects, self._kinds, self._places = objects, kinds, places
        self._blocks: dict[int, Any] = {}
        self._made: dict[int, Any] = {}

    def made(self, told: Any) -> Any:
        """Return what `told` stands for."""
        if not isinstance(told, list):
            return told
        kind, what = told
        if kind == "f":
            return float.fromhex(what)
        if kind in "tl":
            items = [self.made(one) for one in what]
            return tuple(items) if kind == "t" else items
        if kind == "d":
            return {self.made(key): self.made(value) for key, value in what}
        if kind == "a":
            if what not in self._blocks:
                self._blocks[what] = self._block(what)
            return self._blocks[what]
        if what not in self._made:
            self._made[what] = self._object(*self._objects[what])
        return self._made[what]

    def _block(self, number: int) -> Any:
        (kind, shape), (at, size) = self._kinds[number], self._places[number]
        if kind == "table":
            whole = pa.py_buffer(self._data).slice(self._start + at, size)
            return pa.ipc.open_stream(whole).read_all()
        if not size:
            return np.zeros(shape, dtype=kind)
        values = np.frombuffer(self._data, np.uint8, size, self._start + at).view(kind)
        return values.reshape(shape)

    def _object(self, module: str, name: str, attributes: dict[str, Any]) -> Any:
        if not module.startswith(_PACKAGE):
            raise TypeError(f"{module}.{name} is no class of ours")
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        thing = object.__new__(found)
        for attribute, value in attributes.items():
            # Also of frozen classes.
            object.__setattr__(thing, attribute, self.made(value))
        return thing
