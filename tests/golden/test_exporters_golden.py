"""Every exporter makes of the same records the same bytes as ever."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from ehrsynth.exporters import Exporter

_SPEC = importlib.util.spec_from_file_location(
    "ehrsynth_tests_golden_regenerate_exports", Path(__file__).with_name("regenerate_exports.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
regenerate = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(regenerate)


@pytest.mark.parametrize("kind", regenerate.EXPORTERS, ids=lambda kind: kind.name)
def test_the_bytes_are_the_golden_ones(kind: type[Exporter], small: ModuleType) -> None:
    records = regenerate.golden_records(small)
    files = regenerate.export(kind(), records, small.split(records))
    folder = regenerate.FOLDER / kind.name
    golden = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert sorted(files) == sorted(golden)
    for path, data in golden.items():
        # Lines make a difference readable.
        assert files[path].split(b"\n") == data.split(b"\n"), f"{path}: see {regenerate.__file__}"


def test_the_golden_patients_are_the_odd_ones(small: ModuleType) -> None:
    records = regenerate.golden_records(small)
    assert records.check_keys() == []
    assert records.n_patients == len(regenerate.PATIENTS)
    visits = records["encounter"]["patient_id"].to_pylist()
    assert min(visits.count(one) for one in records["patient"]["patient_id"].to_pylist()) == 0
    assert records["encounter"]["start_datetime"].null_count
    assert records["patient"]["death_datetime"].null_count < len(regenerate.PATIENTS)
