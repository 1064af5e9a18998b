"""What is compiled gives the bytes that numpy gives, and refuses what lies outside of its buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehrsynth import native
from ehrsynth.exporters import make_exporters
from ehrsynth.exporters.fragments import Slot, constant, join, pool_of
from ehrsynth.randomness import identifier_bytes
from ehrsynth.records import Records

pytestmark = pytest.mark.skipif(native.compiled() is None, reason="the package was built without a compiler")

TEXTS = st.lists(st.binary(max_size=70), min_size=1, max_size=12)


@contextmanager
def only_numpy() -> Iterator[None]:
    """Do without what is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_NATIVE", None)
        yield


@given(st.data(), st.integers(0, 40))
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
        loop.join([(pa.py_buffer(np.array([0, 9])), 0, 1, pa.py_buffer(b"abc"), 0)], 1, bytearray(16), bytearray)
    with pytest.raises(ValueError, match="room"):
        loop.join([], 2, bytearray(16), bytearray)


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
