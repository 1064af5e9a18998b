"""Errors, random streams, identifiers, provenance, plugins, packaged data."""

from __future__ import annotations

import hashlib
import pickle
import uuid
from pathlib import Path

import numpy as np
import pytest

from ehrsynth import errors, plugins, provenance, randomness, resources
from ehrsynth.errors import EhrsynthError, ResourceError, SourceError, UsageError


def test_an_error_says_what_where_and_what_to_do() -> None:
    error = SourceError(
        "Bad date '2019-13-45'.", file="person.csv", table="person", row=12, column="birth", hint="Fix it."
    )
    assert str(error) == "file person.csv, table person, row 12, column birth: Bad date '2019-13-45'. Fix it."
    assert error.place == "file person.csv, table person, row 12, column birth"


def test_an_error_survives_the_way_from_a_worker() -> None:
    error = pickle.loads(pickle.dumps(SourceError("x", row=0, hint="y")))
    assert (type(error), error.message, error.row, error.hint) == (SourceError, "x", 0, "y")


def test_every_error_has_an_exit_code_of_its_own() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    codes = [errors.exit_code(kind("x")) for kind in kinds]
    assert sorted(codes) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert errors.exit_code(KeyboardInterrupt()) == 130


def test_streams_are_fixed_and_independent() -> None:
    # Literal numbers: a change of numpy, platform or of our hashing would change everybody's patients.
    assert randomness.stream(7, "trajectory", 3).integers(0, 1000, 4).tolist() == [45, 166, 529, 423]
    a, b, c = (randomness.stream(*key).random(1000) for key in ((7, "a", 0), (7, "b", 0), (8, "a", 0)))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.1
    assert abs(np.corrcoef(a, c)[0, 1]) < 0.1


def test_identifiers_are_uuids_that_never_collide() -> None:
    ids = np.concatenate([randomness.identifiers(7, "patient", block, 5000) for block in range(20)])
    assert len(set(ids.tolist())) == 100_000
    parsed = uuid.UUID(ids[17])
    assert str(parsed) == ids[17]
    assert parsed.version == 8
    assert parsed.variant == uuid.RFC_4122
    others = randomness.identifiers(7, "encounter", 0, 5000), randomness.identifiers(8, "patient", 0, 5000)
    assert not set(ids.tolist()) & {*others[0].tolist(), *others[1].tolist()}


def test_identifiers_do_not_depend_on_how_many_are_made() -> None:
    assert (randomness.identifiers(1, "t", 2, 10) == randomness.identifiers(1, "t", 2, 1000)[:10]).all()
    assert randomness.identifiers(1, "t", 0, 0).shape == (0,)


def test_the_second_half_of_an_identifier_is_a_bijection() -> None:
    rows = np.arange(200_000, dtype=np.uint64) * np.uint64(2**43 + 1) & np.uint64(2**62 - 1)
    mixed = randomness._bijection62(rows, 0x123456789ABCDEF)
    assert len(np.unique(mixed)) == len(np.unique(rows)) == 200_000
    assert mixed.max() < 2**62


def test_a_file_is_hashed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert provenance.sha256_file(path) == hashlib.sha256(b"abc").hexdigest()
    assert provenance.versions("numpy", "no-such-distribution").keys() == {"ehrsynth", "numpy"}


def test_near_names_are_suggested() -> None:
    with pytest.raises(UsageError, match="no exporter 'fhir_bundel'") as caught:
        plugins.load("ehrsynth.exporters", "fhir_bundel")
    assert "'fhir-bundle'" in (caught.value.hint or "")
    assert plugins.nearest("zzz", ["a", "b"]) == "Known: a, b."


def test_packaged_data_has_one_door() -> None:
    assert "schema" in resources.read_json("output_schemas/clinical/datapackage.json")["resources"][0]
    with pytest.raises(ResourceError, match="missing"):
        resources.read_bytes("output_schemas/none.json")
    with pytest.raises(ResourceError, match="No packaged data"):
        resources.read_bytes("elsewhere/none.json")
    with pytest.raises(ResourceError, match="altered"):
        resources.read_bytes("output_schemas/clinical/patient.json", sha256="0" * 64)


def test_all_errors_are_ours() -> None:
    assert all(issubclass(getattr(errors, name), EhrsynthError) for name in errors.__all__ if name.endswith("Error"))
