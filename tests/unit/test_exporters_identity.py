"""Identifiers: UUIDs stay, anything else becomes a UUID that depends on nothing but table and key."""

from __future__ import annotations

import re
import uuid

import pyarrow as pa
import pytest

from ehrsynth.exporters.fhir.identity import SYSTEM, derived_ids, fhir_ids
from ehrsynth.randomness import identifiers

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


def test_our_own_identifiers_stay_as_they_are() -> None:
    keys = pa.array(identifiers(1, "patient", 0, 50))
    assert fhir_ids(keys, "patient") is keys
    some = pa.array([None, *keys.to_pylist()[:3]])
    assert fhir_ids(some.slice(1), "patient").to_pylist() == keys.to_pylist()[:3]


@pytest.mark.parametrize(
    "key",
    ["1", "P 1/ä", "x" * 36, "x" * 200, "1D789906-006A-8067-952F-D6594D64AA7D", "1d789906+006a+8067+952f+d6594d64aa7d"],
)
def test_anything_else_becomes_a_uuid(key: str) -> None:
    (made,) = fhir_ids(pa.array([key]), "patient").to_pylist()
    assert UUID.match(made)
    assert made != key
    assert fhir_ids(pa.array([key]), "patient").to_pylist() == [made]
    assert fhir_ids(pa.array([key]), "organization").to_pylist() != [made]


def test_a_key_has_one_id_whatever_stands_beside_it() -> None:
    good = identifiers(1, "patient", 0, 1)[0]
    mixed = fhir_ids(pa.array([good, "7", None, "7", " "]), "patient").to_pylist()
    assert mixed == [good, mixed[1], None, mixed[1], None]
    assert mixed[1] == fhir_ids(pa.array(["7"]), "patient").to_pylist()[0]


def test_a_derived_id_is_never_the_key() -> None:
    keys = pa.array(identifiers(1, "practitioner", 0, 3))
    made = derived_ids(keys, "practitioner_role").to_pylist()
    assert all(UUID.match(one) for one in made)
    assert not set(made) & set(keys.to_pylist())
    other = derived_ids(keys, "laboratory_panel").to_pylist()
    assert len({*made, *other}) == 6
    # One key, one id: whatever stands beside it, and whether or not it is a UUID itself.
    mixed = derived_ids(pa.array([None, "7", keys[1].as_py(), "7"]), "practitioner_role").to_pylist()
    assert mixed == [None, mixed[1], made[1], mixed[1]]
    assert mixed[1] != fhir_ids(pa.array(["7"]), "practitioner_role")[0].as_py()


def test_they_are_version_5_of_the_standard() -> None:
    keys = ["1", "P 1/ä", "x" * 200, *map(str, range(50))]
    namespace = uuid.uuid5(uuid.NAMESPACE_URL, SYSTEM)
    expected = [str(uuid.uuid5(namespace, f"patient/{key}")) for key in keys]
    assert fhir_ids(pa.array(keys), "patient").to_pylist() == expected


def test_known_answer() -> None:
    # Version 5 of RFC 9562 over our namespace: written down so that no release moves anybody's identifiers.
    assert fhir_ids(pa.array(["12345"]), "patient").to_pylist() == ["7633877a-d16a-5b86-8a4a-5626aa7335e3"]
