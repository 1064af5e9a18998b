"""What is compiled gives the bytes that numpy gives, and refuses what lies outside of its buffers."""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehrsynth import native
from ehrsynth.exporters import make_exporters
from ehrsynth.exporters.fhir.identity import _are_uuids, _turned
from ehrsynth.exporters.fragments import Slot, constant, join, joined_in_parts, pool_of
from ehrsynth.probability.sets import BEFORE, KINDS, Allowed, Company, Given, SetLaw
from ehrsynth.randomness import identifier_bytes, stream
from ehrsynth.records import Records

pytestmark = pytest.mark.skipif(native.compiled() is None, reason="the package was built without a compiler")

TEXTS = st.lists(st.binary(max_size=70), min_size=1, max_size=12)


@contextmanager
def only_numpy() -> Iterator[None]:
    """Do without what is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_NATIVE", None)
        yield


@given(st.data(), st.integers(0, 200))
def test_joined_rows_are_those_of_arrow(data: st.DataObject, n: int) -> None:
    slots = []
    for _ in range(data.draw(st.integers(0, 6))):
        texts = data.draw(TEXTS)
        first = data.draw(st.integers(0, len(texts) - 1))
        # A slice of a pool is a pool whose first text is not the first of its buffers.
        pool = pool_of(texts).slice(first)
        if data.draw(st.booleans()):
            slots.append(Slot(pool, data.draw(st.integers(-1, len(pool) - 1)), data.draw(st.booleans())))
        else:
            index = data.draw(st.lists(st.integers(-1, len(pool) - 1), min_size=n, max_size=n))
            slots.append(Slot(pool, np.array(index, dtype=np.int32), data.draw(st.booleans())))
    found = join(slots, n)
    found.validate(full=True)
    with only_numpy():
        assert found.equals(join(slots, n))


@given(st.lists(st.integers(-1, 2), max_size=150), st.integers(1, 70))
def test_rows_joined_in_parts_are_the_rows(index: list[int], size: int) -> None:
    pool = pool_of([b"a", "\u00e9\u00e9".encode(), b"x" * 70])
    slots = [constant(b"<"), Slot(pool, np.array(index, np.int32)), Slot(pool, np.array(index, np.int32), False)]
    found = list(joined_in_parts(slots, len(index), size))
    assert [text for part in found for text in part.to_pylist()] == join(slots, len(index)).to_pylist()
    with only_numpy():
        others = list(joined_in_parts(slots, len(index), size))
    assert [part.to_pylist() for part in found] == [part.to_pylist() for part in others]


@pytest.mark.parametrize("seed", range(12))
def test_sets_are_drawn_as_numpy_draws_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys, things, rows = 7, 40, 300
    table = rng.gamma(0.3, size=(keys, things)) * (rng.random((keys, things)) < 0.8)
    moves = rng.choice(KINDS * things * things, 900 if seed % 3 else 0, replace=False)
    boost = np.where(rng.random(len(moves)) < 0.3, rng.uniform(-1, 0, len(moves)), rng.gamma(1.0, 4.0, len(moves)))
    kind, pair = np.divmod(moves, things * things)
    company = Company(things, kind, pair // things, pair % things, boost)
    law = SetLaw(table, company)
    had = np.flatnonzero(rng.random(rows * things) < 0.05)
    source = company.source[BEFORE * things + had % things]
    given_ = Given(
        row=had // things,
        thing=had % things,
        odds=rng.gamma(0.5, size=len(had)),
        context_row=(had // things)[source >= 0],
        context=source[source >= 0],
    )
    old = rng.random(rows) < 0.5
    limits = Allowed(things=np.array([0, 3, 39]), check=lambda row, thing: old[row] | (thing == 3))
    key, size = rng.integers(keys, size=rows), rng.integers(0, 9, rows)
    one, other = np.random.Generator(np.random.Philox(seed)), np.random.Generator(np.random.Philox(seed))
    found = law.draw(key, size, given_, one, limits if seed % 2 else None)
    with only_numpy():
        expected = law.draw(key, size, given_, other, limits if seed % 2 else None)
    np.testing.assert_array_equal(found, expected)
    assert len(found[0]) > rows
    # Whatever is drawn next is the same as well.
    assert one.random() == other.random()


def test_sets_refuse_arrays_that_do_not_fit() -> None:
    made = native.compiled()
    assert made is not None
    capsule = np.random.Generator(np.random.Philox(1)).bit_generator.capsule
    with pytest.raises(ValueError, match="not the arrays"):
        made.sets((), (1, 0, False, 1, 1), capsule)
    with pytest.raises(ValueError, match="do not fit"):
        made.sets((np.zeros(2, np.int64),) * 22, (1, 0, False, 1, 1), capsule)


def test_what_is_not_there_is_refused() -> None:
    slot = Slot(pool_of([b"a", b"b"]), np.array([0, 2], dtype=np.int32))
    with pytest.raises(IndexError):
        join([slot], 2)
    with pytest.raises(IndexError):
        join([Slot(slot.pool, -2)], 2)
    with pytest.raises(ValueError, match="too short"):
        join([slot], 3)
    loop = native.compiled()
    assert loop is not None
    with pytest.raises(ValueError, match="outside"):
        loop.join(
            [(pa.py_buffer(np.array([0, 9])), 0, 1, pa.py_buffer(b"abc"), 0, True)], 0, 1, bytearray(16), bytearray
        )
    with pytest.raises(ValueError, match="room"):
        loop.join([], 0, 2, bytearray(16), bytearray)
    texts = (pa.py_buffer(np.array([0, 1])), 0, 1, pa.py_buffer(b"a"), np.zeros(4, np.int32), True)
    for start, count in ((0, 5), (3, 2), (5, 0), (2**62, 1), (1, 2**62)):
        with pytest.raises(ValueError, match=r"too short|room"):
            loop.join([texts], start, count, bytearray(64), bytearray)
    with pytest.raises(ValueError, match="room"):
        loop.join([texts], -1, 1, bytearray(64), bytearray)


@pytest.mark.parametrize(("seed", "block", "count"), [(0, 0, 0), (7, 0, 1000), (2**40, 2**30 - 1, 33)])
def test_identifiers_are_those_of_numpy(seed: int, block: int, count: int) -> None:
    found = identifier_bytes(seed, "condition", block, count)
    with only_numpy():
        assert found.tobytes() == identifier_bytes(seed, "condition", block, count).tobytes()
    found.sort()  # what comes from the compiled loop can be written to, as what numpy makes


@pytest.mark.parametrize("name", ["csv", "fhir-ndjson", "fhir-bundle"])
def test_files_are_the_same_without_a_compiler(small_records: Records, name: str) -> None:
    def written() -> list[tuple[str, bytes, int]]:
        exporter = make_exporters([name])[name]
        parts = [*exporter.begin(small_records), *exporter.encode(small_records, small_records)]
        return [(part.path, bytes(part.data), part.rows) for part in parts]

    found = written()
    assert len(found) > 10
    with only_numpy():
        assert found == written()


def test_a_constant_stands_in_every_row() -> None:
    slots = [constant(b"{"), Slot(pool_of([b"x", b""]), np.array([0, 1, -1], dtype=np.int32)), constant(b"}\n")]
    assert join(slots, 3).to_pylist() == [b"{x}\n", b"{}\n", b"{}\n"]


@given(st.integers(0, 2**32), st.integers(0, 20), st.lists(st.integers(0, 15), min_size=36, max_size=36))
def test_turned_identifiers_are_those_of_numpy(seed: int, count: int, by: list[int]) -> None:
    letters = np.frombuffer(identifier_bytes(seed, "x", 0, count), dtype=np.uint8).reshape(-1, 36)
    turn = np.array(by, dtype=np.uint8)
    found = bytes(_turned(letters, turn))
    with only_numpy():
        assert found == bytes(_turned(letters, turn))


@pytest.mark.parametrize("letter", ["g", "A", "-", "/", ":", "`", "\u0000"])
@pytest.mark.parametrize("place", [0, 8, 35])
def test_what_is_no_uuid_is_told_as_by_numpy(letter: str, place: int) -> None:
    good = identifier_bytes(7, "x", 0, 3).astype("U36").tolist()
    spoilt = good[1][:place] + letter + good[1][place + 1 :]
    keys = pa.array([good[0], spoilt, None, good[2]])
    assert _are_uuids(pa.array(good))
    found = _are_uuids(keys)
    assert found == (spoilt == good[1])
    with only_numpy():
        assert _are_uuids(keys) == found


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(0, 3))
def test_base64_is_that_of_python(texts: list[bytes], first: int) -> None:
    loop = native.compiled()
    assert loop is not None
    ends = np.cumsum([first, *map(len, texts)])
    bounds = np.empty(len(texts) + 1, np.int64)
    coded = loop.base64(b"x" * first + b"".join(texts), ends, bounds)
    padded = [text + b"\n" * (-len(text) % 3) for text in texts]
    found = [coded[start:stop] for start, stop in pairwise(bounds.tolist())]
    assert found == [binascii.b2a_base64(text, newline=False) for text in padded]
    assert bounds[-1] == len(coded)


@pytest.mark.parametrize("ends", [[0, 4], [0, 2, 1], [-1, 2], []])
def test_base64_refuses_texts_outside_their_buffer(ends: list[int]) -> None:
    loop = native.compiled()
    assert loop is not None
    with pytest.raises(ValueError, match="outside"):
        loop.base64(b"abc", np.array(ends, np.int64), np.empty(len(ends), np.int64))
    with pytest.raises(ValueError, match="outside"):
        loop.base64(b"abc", np.array([0, 3]), np.empty(1, np.int64))
    with pytest.raises(ValueError, match="36"):
        loop.turned(b"a" * 35, b"b" * 36)


@pytest.mark.parametrize("kinds", [3, 40, 5000])
def test_runs_of_many_combinations_are_joined_alike(kinds: int) -> None:
    rng = np.random.default_rng(kinds)
    pool = pool_of([b"%d," % at * (at % 5) for at in range(min(kinds, 2000))])
    shared = rng.integers(-1, len(pool), 3000).astype(np.int32)
    slots = [constant(b"["), Slot(pool, shared), constant(b"|", np.minimum(shared, 0)), Slot(pool, shared[::-1])]
    slots += [Slot(pool, rng.integers(0, len(pool), 3000).astype(np.int32)) for _ in range(6)]
    found = join(slots, 3000)
    found.validate(full=True)
    with only_numpy():
        assert found.equals(join(slots, 3000))


@given(st.binary(min_size=32, max_size=32), st.integers(0, 32))
def test_streams_are_those_of_a_seed_sequence(digest: bytes, zeros: int) -> None:
    loop = native.compiled()
    assert loop is not None
    for number in (digest, bytes(zeros) + digest[zeros:]):
        expected = np.random.SeedSequence(int.from_bytes(number, "big")).generate_state(4, np.uint64)
        assert loop.seeded(number) == expected.tobytes()
    with pytest.raises(ValueError, match="32 bytes"):
        loop.seeded(digest[1:])
    found = stream(7, "trajectory", zeros)
    with only_numpy():
        assert found.bit_generator.state == stream(7, "trajectory", zeros).bit_generator.state
