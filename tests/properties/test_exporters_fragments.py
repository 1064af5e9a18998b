"""Whatever the slots, joining them is putting texts side by side; whatever the text, CSV gives it back."""

from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrsynth.exporters.fragments import Slot, fold, join, joined_bytes, pool_of
from ehrsynth.exporters.tables import CsvExporter
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records
from ehrsynth.schema import clinical

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def slots_of(draw: st.DrawFn) -> tuple[int, list[Slot]]:
    n = draw(st.integers(1, 90))
    pools = draw(st.lists(st.lists(st.binary(max_size=5), min_size=1, max_size=6).map(pool_of), min_size=1, max_size=4))
    seed = np.random.default_rng(draw(st.integers(0, 2**32)))
    slots = []
    for _ in range(draw(st.integers(1, 9))):
        pool = draw(st.sampled_from(pools))
        same = draw(st.booleans())
        index = int(seed.integers(-1, len(pool))) if same else seed.integers(-1, len(pool), n).astype(np.int32)
        slots.append(Slot(pool, index, foldable=draw(st.booleans())))
    # Neighbours that share an index are folded together.
    return n, [*slots, *(Slot(slot.pool, slot.index) for slot in slots[: draw(st.integers(0, 3))])]


@settings(max_examples=150, deadline=None)
@given(slots_of())
def test_joining_is_putting_side_by_side(made: tuple[int, list[Slot]]) -> None:
    n, slots = made
    expected = []
    for row in range(n):
        places = [slot.index if isinstance(slot.index, int) else int(slot.index[row]) for slot in slots]
        parts = [b"" if at < 0 else slot.pool[at].as_py() for at, slot in zip(places, slots, strict=True)]
        expected.append(b"".join(parts))
    assert join(slots, n).to_pylist() == expected
    assert joined_bytes(join(slots, n)) == b"".join(expected)
    assert len(fold(slots, n)) <= len(slots)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=20))
def test_csv_gives_text_back(rows: list[tuple[str, str]]) -> None:
    table = pa.Table.from_pylist(
        [{"organization_id": "o", "name": name, "city": city} for name, city in rows],
        schema=clinical()["organization"].arrow,
    )
    records = Records.from_tables({"organization": table}, provenance=Provenance(source="test"))
    data = b"".join(part.data for part in CsvExporter().begin(records) if part.path == "organization.csv")
    _, *found = csv.reader(io.StringIO(data.decode(), newline=""))
    names = clinical()["organization"].names
    assert [(row[names.index("name")], row[names.index("city")]) for row in found] == rows
