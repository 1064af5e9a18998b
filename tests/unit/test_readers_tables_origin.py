"""What a folder of tables says of its origin: only what says that it is synthetic is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ehrsynth import api
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records


def again(records: Records, folder: Path) -> Records:
    """The records after a round through CSV."""
    api.export(records, folder, formats=["csv"])
    return api.read(folder / "csv", format="tables")


def test_synthetic_records_stay_synthetic(small_records: Records, tmp_path: Path) -> None:
    found = again(small_records, tmp_path / "out").provenance
    assert found.synthetic
    assert found.source == "twenty hand-made patients"
    assert found.details["reference_date"] == "1970-01-01"


def test_real_records_stay_real(small_records: Records, tmp_path: Path) -> None:
    real = Provenance(source="a hospital", licence="none", time_basis="shifted")
    records = Records(tables=small_records.tables, schema=small_records.schema, provenance=real)
    found = again(records, tmp_path / "out").provenance
    assert not found.synthetic
    assert (found.source, found.licence, found.time_basis) == ("a hospital", "none", "shifted")


@pytest.mark.parametrize(
    "document", ["", "[]", {"ehrsynth": []}, {"ehrsynth": {"synthetic": "true"}}, {"ehrsynth": {"synthetic": 1}}, {}]
)
def test_what_does_not_say_so_is_not_synthetic(small_records: Records, tmp_path: Path, document: Any) -> None:
    again(small_records, tmp_path / "out")
    text = document if isinstance(document, str) else json.dumps(document)
    (tmp_path / "out/csv/datapackage.json").write_text(text)
    found = api.read(tmp_path / "out/csv", format="tables").provenance
    assert not found.synthetic
    assert found.source == "canonical tables in csv"
