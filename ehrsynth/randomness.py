"""One seed, any number of named, independent random streams, and identifiers that depend on nothing else.

A stream is named by (seed, name, block). A new consumer of randomness takes a new name and so moves nobody else's
numbers; a block of patients is made from its own streams and so does not depend on which worker makes it or on how many
patients there are.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.native import compiled

__all__ = ["BLOCK_SIZE", "identifier_bytes", "identifiers", "stream"]

BLOCK_SIZE = 1024
"""Patients in a block. Patients are always made in whole blocks; the last is cut."""

_MASK = (1 << 64) - 1


def _digest(*parts: object) -> bytes:
    # sha256 and not hash(): the built-in is salted per process (PYTHONHASHSEED).
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()


def stream(seed: int, name: str, block: int = 0) -> np.random.Generator:
    """Return the generator of the stream `name` of `block` under `seed`.

    PCG64 seeded through numpy's SeedSequence with 256 bits of SHA-256 over the three parts: the same on every platform
    and in every process.
    """
    digest = _digest("ehrsynth", seed, name, block)
    native = compiled()
    if native is not None:
        words = np.frombuffer(native.seeded(digest), dtype=np.uint64)
        return np.random.Generator(np.random.PCG64(_seeded()(words)))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "big"))))


@lru_cache(maxsize=1)
def _seeded() -> Any:
    """Return a seed sequence of words that are made already: every part of a block asks for fifty streams."""
    # Here, as numpy.random is imported by who draws only.
    from numpy.random.bit_generator import ISeedSequence

    class Seeded(ISeedSequence):
        def __init__(self, words: npt.NDArray[np.uint64]) -> None:
            self._words = words

        def generate_state(self, n_words: int, dtype: Any = np.uint32) -> npt.NDArray[Any]:
            if n_words != len(self._words) or np.dtype(dtype) != np.uint64:
                raise ValueError("PCG64 asks for four words of 64 bits, and for nothing else.")
            return self._words

    return Seeded


def _splitmix64(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    # Finaliser of Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators": a bijection on 64 bits.
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=1)
def _hexadecimal() -> npt.NDArray[np.uint32]:
    """The four digits of every 16-bit number, as they lie in memory."""
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    numbers = np.arange(1 << 16)
    return np.stack([digits[numbers >> shift & 15] for shift in (12, 8, 4, 0)], axis=1).view(np.uint32).reshape(-1)


# A UUID: eight times four digits, and dashes between some of them.
_UUID = np.dtype(
    {
        "names": ["eight", "four", "version", "variant", "twelve", *(f"dash{i}" for i in range(4))],
        "formats": [("u4", 2), "u4", "u4", "u4", ("u4", 3), *["u1"] * 4],
        "offsets": [0, 9, 14, 19, 24, 8, 13, 18, 23],
        "itemsize": 36,
    }
)


def identifiers(seed: int, table: str, block: int, count: int) -> npt.NDArray[np.str_]:
    """Return the identifiers of `identifier_bytes` as text."""
    return identifier_bytes(seed, table, block, count).astype("U36")


def identifier_bytes(seed: int, table: str, block: int, count: int) -> npt.NDArray[np.bytes_]:
    """Return `count` UUIDs (36 ASCII characters each) for the rows 0..count-1 of `table` in `block` under `seed`.

    They are UUIDs of version 8 (RFC 9562: vendor-specific, here a keyed mix of table, block and row), not of version 5:
    hashing each row's name with SHA-1 costs more than writing the row, and the mix is vectorised. Within a (seed,
    table) two rows cannot collide by construction in the 62 bits of the second half, which are a bijection of (block,
    row) for up to 2**30 blocks of up to 2**32 rows; between tables and seeds 122 bits stand against collision.
    """
    key = _digest("identifiers", seed, table)
    keys = [int.from_bytes(key[i : i + 8], "big") for i in (0, 8)]
    native = compiled()
    if native is not None:
        return np.frombuffer(native.uuids(keys[0], keys[1], block, count), dtype="S36")
    k0, k1 = (np.uint64(part) for part in keys)
    rows = np.uint64(block << 32) + np.arange(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        high = _splitmix64(_splitmix64(rows * np.uint64(0x9E3779B97F4A7C15) + k0) ^ k1)
    low = _bijection62(rows, keys[1])
    high = (high & np.uint64(_MASK ^ 0xF000)) | np.uint64(0x8000)
    low = low | np.uint64(0x8000000000000000)
    text = _hexadecimal()
    digits = np.empty((count, 8), dtype=np.uint32)
    for place, shift in enumerate((48, 32, 16, 0)):
        digits[:, place] = text[(high >> np.uint64(shift)) & np.uint64(0xFFFF)]
        digits[:, place + 4] = text[(low >> np.uint64(shift)) & np.uint64(0xFFFF)]
    out = np.empty(count, dtype=_UUID)
    out["eight"], out["twelve"] = digits[:, :2], digits[:, 5:]
    out["four"], out["version"], out["variant"] = digits[:, 2], digits[:, 3], digits[:, 4]
    for dash in range(4):
        out[f"dash{dash}"] = ord("-")
    return out.view("S36")


def _bijection62(x: npt.NDArray[np.uint64], key: int) -> npt.NDArray[np.uint64]:
    """A keyed bijection on 62 bits: odd multiplications and xor-shifts modulo 2**62."""
    mask = np.uint64((1 << 62) - 1)
    with np.errstate(over="ignore"):
        x = (x + np.uint64(key >> 2)) & mask
        for shift, factor in ((31, 0xBF58476D1CE4E5B9), (29, 0x94D049BB133111EB), (32, 0xD6E8FEB86659FD93)):
            x = ((x ^ (x >> np.uint64(shift))) * np.uint64(factor)) & mask
    return x ^ (x >> np.uint64(30))
