"""Arrays as the bytes of ``.npy`` files, the same on every machine, and read without evaluating each header."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np

__all__ = ["array_bytes", "array_of"]

# The header that numpy writes for what lies in C order, little-endian: the only one that `array_bytes` makes.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00[\x00-\xff]{2}\{'descr': '([<|][biuf][1248])', 'fortran_order': False, "
    rb"'shape': \(([\d, ]*)\), \} *\n"
)


def array_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """Return `array` as a ``.npy`` file: little-endian and in C order whatever the machine."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")), allow_pickle=False)
    return buffer.getvalue()


def array_of(data: bytes) -> np.ndarray[Any, Any]:
    """Return the array in the bytes of a ``.npy`` file, of our own or any other form without objects.

    Raises
    ------
    ValueError, EOFError, OSError
        It is none, is truncated, or holds pickled objects.
    """
    header = _HEADER.match(data)
    if header is None:
        array = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive of arrays, not one")
        return array
    # numpy evaluates a header as Python, a third of a millisecond each: a model of 400 arrays starts so much later.
    shape = tuple(int(size) for size in header[2].split(b",") if size.strip())
    kind = np.dtype(header[1].decode())
    return np.frombuffer(data, dtype=kind, offset=header.end(), count=math.prod(shape)).reshape(shape).copy()
