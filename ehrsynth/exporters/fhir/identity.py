"""Identifiers that FHIR takes: UUIDs stay as they are, anything else becomes one that depends on nothing but itself."""

from __future__ import annotations

import hashlib
import re
import uuid
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.native import compiled

__all__ = ["SYSTEM", "derived_ids", "fhir_ids", "identifier_system"]

SYSTEM = "https://ehrsynth.example"
"""Root of our own identifier systems, under a top-level domain that nobody can own (RFC 2606)."""

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, SYSTEM)

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z").match
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

_DASHES = [8, 13, 18, 23]
_DASH = np.uint8(ord("-"))


def identifier_system(kind: str) -> str:
    """Return the URI of the system of our identifiers of `kind` (a table)."""
    return f"{SYSTEM}/{kind}"


def derived_ids(keys: pa.Array, kind: str) -> pa.Array:
    """Return UUIDs that stand for `keys` of `kind` and differ from them, null where a key is.

    The digits of a key's own UUID (`fhir_ids`), but those of version and variant, are combined by exclusive or with
    digits of the kind's name: a bijection, so one key has one id and two keys never meet.
    """
    ids = fhir_ids(keys, kind)
    there = ids.drop_null() if ids.null_count else ids
    if len(there) == 0:
        return ids
    turned = _turned(_letters(there), _turn(kind))
    known = ids.is_valid().to_numpy(zero_copy_only=False) if ids.null_count else np.ones(len(ids), dtype=bool)
    ends = np.zeros(len(ids) + 1, dtype=np.int32)
    np.cumsum(known * np.int32(36), out=ends[1:])
    validity = pa.py_buffer(np.packbits(known, bitorder="little")) if ids.null_count else None
    return pa.StringArray.from_buffers(len(ids), pa.py_buffer(ends), pa.py_buffer(turned), validity)


def _turned(letters: npt.NDArray[np.uint8], turn: npt.NDArray[np.uint8]) -> bytearray | npt.NDArray[np.uint8]:
    """Return the letters of UUIDs with their digits combined with those of `turn`."""
    native = compiled()
    if native is not None:
        return native.turned(letters, turn)
    # 0-9 and a-f are 48-57 and 97-102: the seventh bit tells them apart. What this makes of dashes is overwritten.
    digits = (letters & np.uint8(15)) + np.uint8(9) * (letters >> np.uint8(6))
    digits ^= turn
    turned = digits + np.uint8(ord("0"))
    turned += (digits > 9) * np.uint8(ord("a") - ord("0") - 10)
    turned[:, _DASHES] = _DASH
    return turned


@lru_cache(maxsize=1024)
def _turn(kind: str) -> npt.NDArray[np.uint8]:
    """The digits that ids of `kind` are turned by, shape (36,); not all of them 0."""
    name = str(uuid.uuid5(_NAMESPACE, kind))
    turn = np.array([0 if letter == "-" else int(letter, 16) for letter in name], dtype=np.uint8)
    turn[[14, 19]] = 0
    turn.flags.writeable = False
    return turn


def fhir_ids(keys: pa.Array, kind: str) -> pa.Array:
    """Return the resource ids of `keys`, null where a key is null or empty.

    FHIR allows 64 of ``A-Z a-z 0-9 - .`` and a transaction Bundle wants UUIDs; table keys can be anything, and equal
    ones of two tables can meet in one resource type (an organization and a payer). UUIDs in lower case are kept.

    Parameters
    ----------
    keys : pyarrow.Array of string, shape (n,)
    kind : str
        The table whose keys they are.
    """
    if _are_uuids(keys):
        return keys
    encoded = keys.dictionary_encode()
    ids = _ids_of(encoded.dictionary.to_pylist(), kind)
    return pa.array(ids, pa.string()).take(encoded.indices)


def _ids_of(keys: list[str], kind: str) -> list[str | None]:
    # uuid.uuid5 step by step: the name space and the kind are hashed once, and no UUID object is made per key.
    start = hashlib.sha1(_NAMESPACE.bytes + f"{kind}/".encode(), usedforsecurity=False)
    made: list[str | None] = []
    for key in keys:
        if _UUID(key):
            made.append(key)
        elif not key.strip():
            made.append(None)
        else:
            digest = start.copy()
            digest.update(key.encode())
            h = digest.hexdigest()
            made.append(f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}")
    return made


def _are_uuids(keys: pa.Array) -> bool:
    texts = keys.drop_null() if keys.null_count else keys
    if len(texts) == 0:
        return True
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    ends = np.frombuffer(texts.buffers()[1], dtype=width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    if ends[-1] - ends[0] != 36 * len(texts) or not (ends[1:] - ends[:-1] == 36).all():
        return False
    letters = _letters(texts)
    native = compiled()
    if native is not None:
        return native.are_uuids(letters)
    # One comparison an interval: below it the difference wraps around and is large.
    hexadecimal = (letters - np.uint8(ord("0"))) < 10
    hexadecimal |= (letters - np.uint8(ord("a"))) < 6
    # The four dashes are no digits: 32 digits a row leave no place for anything else.
    return bool((letters[:, _DASHES] == _DASH).all()) and int(np.count_nonzero(hexadecimal)) == 32 * len(texts)


def _letters(texts: pa.Array) -> npt.NDArray[np.uint8]:
    """Return the bytes of texts of 36 bytes each, none of them null, shape (n, 36)."""
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offsets, data = texts.buffers()
    first = int(np.frombuffer(offsets, dtype=width, count=1, offset=texts.offset * width().itemsize)[0])
    return np.frombuffer(data, dtype=np.uint8, count=36 * len(texts), offset=first).reshape(-1, 36)
