"""Chance that is the same every time: numbers that depend on an id and on what they are for, and on nothing else.

What the records do not say and a real system would have (an earlier address, whether somebody was asked) is decided by
them: so the same patient has the same in every style, at every export and for any number of workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.exporters.fhir.identity import fhir_ids
from ehrsynth.exporters.fhir.joins import whole

__all__ = ["chances", "choices"]

_HEX = np.full(256, 0, dtype=np.uint64)
_HEX[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16)
# The digits of a UUID that are neither dashes nor its version and variant, sixteen of them.
_DIGITS = (0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31)


def chances(keys: pa.Array | pa.ChunkedArray, table: str, what: str) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each of `keys` of `table`, shape (n,); `what` names what it is to decide.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014) over the bits of the resource id and of the name: numbers
    for one id and two names are independent of each other.
    """
    array = whole(keys) if isinstance(keys, pa.ChunkedArray) else keys
    if len(array) == 0:
        return np.zeros(0)
    ids = fhir_ids(array, table).fill_null("00000000-0000-8000-8000-000000000000").cast(pa.string())
    letters = np.frombuffer(b"".join(_bytes(ids)), dtype=np.uint8).reshape(-1, 36)
    state = np.zeros(len(ids), dtype=np.uint64)
    for place in _DIGITS:
        state = (state << np.uint64(4)) | _HEX[letters[:, place]]
    state ^= np.uint64(int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big"))
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _bytes(ids: pa.Array) -> list[bytes]:
    _, offsets, data = ids.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32, count=len(ids) + 1, offset=4 * ids.offset)
    return [memoryview(data)[int(ends[0]) : int(ends[-1])].tobytes()]


def choices(numbers: npt.NDArray[np.float64], values: Sequence[Sequence[Any]]) -> npt.NDArray[np.int64]:
    """Return which of `values`, pairs of a value and a share, each of `numbers` in [0, 1) chooses, shape (n,)."""
    bounds = np.cumsum([share for _, share in values])
    return np.minimum(np.searchsorted(bounds / bounds[-1], numbers, side="right"), len(values) - 1)
