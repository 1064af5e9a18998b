"""NDJSON and Bundles as files: references that resolve, one POST a patient, manifests, blocks that add up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa
import pytest

from ehrsynth.errors import SourceError
from ehrsynth.exporters import Exporter, ExportSummary, Part
from ehrsynth.exporters.fhir.bundle import SHARED_FILE, BundleExporter
from ehrsynth.exporters.fhir.ndjson import NdjsonExporter
from ehrsynth.records import Records


def files_of(parts: list[Part]) -> dict[str, bytes]:
    data: dict[str, bytes] = defaultdict(bytes)
    for part in parts:
        data[part.path] += part.data
    return dict(data)


def exported(exporter: Exporter, records: Records, small: Any) -> dict[str, bytes]:
    block, shared = small.split(records)
    return files_of([*exporter.begin(shared), *exporter.encode(block, shared)])


def everything(value: Any) -> Iterator[Any]:
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from everything(inner)


def references(resource: Any) -> list[str]:
    found = (one.get("reference") for one in everything(resource) if isinstance(one, dict))
    return [one for one in found if isinstance(one, str)]


@pytest.fixture(scope="module")
def lines(small_records: Records, small: Any) -> dict[str, list[Any]]:
    files = exported(NdjsonExporter(), small_records, small)
    return {path: [orjson.loads(line) for line in data.splitlines()] for path, data in files.items()}


@pytest.fixture(scope="module")
def bundles(small_records: Records, small: Any) -> dict[str, Any]:
    files = exported(BundleExporter(), small_records, small)
    return {path: orjson.loads(data) for path, data in files.items()}


def test_every_literal_reference_leads_to_a_resource(lines: dict[str, list[Any]]) -> None:
    ids = {f"{one['resourceType']}/{one['id']}" for found in lines.values() for one in found}
    assert len(ids) == sum(len(found) for found in lines.values())
    targets = {reference for found in lines.values() for one in found for reference in references(one)}
    assert targets
    assert targets <= ids


def test_nothing_is_null_or_empty(lines: dict[str, list[Any]], bundles: dict[str, Any]) -> None:
    for value in (*everything(list(lines.values())), *everything(list(bundles.values()))):
        assert value not in (None, "", [], {})


def test_every_file_holds_its_type_and_every_resource_says_it_is_made_up(lines: dict[str, list[Any]]) -> None:
    for path, found in lines.items():
        assert {one["resourceType"] for one in found} == {path.removesuffix(".ndjson")}
        assert {code["code"] for one in found for code in one["meta"]["security"]} == {"HTEST"}


def test_rows_become_resources_one_to_one(lines: dict[str, list[Any]], small_records: Records) -> None:
    counts = small_records.row_counts
    for table, path in (
        ("patient", "Patient"),
        ("coverage", "Coverage"),
        ("encounter", "Encounter"),
        ("condition", "Condition"),
        ("medication_request", "MedicationRequest"),
        ("procedure", "Procedure"),
        ("immunization", "Immunization"),
        ("allergy_intolerance", "AllergyIntolerance"),
        ("device", "Device"),
        ("location", "Location"),
        ("practitioner", "Practitioner"),
    ):
        found = [one["id"] for one in lines[f"{path}.ndjson"]]
        assert found == small_records[table][f"{table}_id"].to_pylist()
        assert len(found) == counts[table]
    # A row of observation is a resource, or a component of one.
    rows = set(small_records["observation"]["observation_id"].to_pylist())
    observations = [
        one
        for one in lines["Observation.ndjson"]
        if not any("/derived_" in identifier["system"] for identifier in one.get("identifier", ()))
    ]
    parts = {part["id"] for one in observations for part in one.get("component", ()) if "id" in part}
    alone = {
        one["id"] for one in observations if "component" not in one and one["code"].get("text") != "Cause of death"
    }
    assert parts | alone == rows
    assert not parts & alone


def test_the_manifest_lists_referenced_types_first() -> None:
    files = {f"{name}.ndjson": {"rows": n} for n, name in enumerate(("Observation", "Patient", "Organization"), 1)}
    summary = ExportSummary(
        files={**files, "Device.ndjson": {"rows": 0}}, row_counts={}, provenance={"generated_at": "2024-02-03"}
    )
    (part,) = NdjsonExporter().end(summary)
    assert part.path == "manifest.json"
    assert orjson.loads(part.data) == {
        "transactionTime": "2024-02-03T00:00:00Z",
        "request": "ehrsynth",
        "requiresAccessToken": False,
        "output": [
            {"type": "Organization", "url": "Organization.ndjson", "count": 3},
            {"type": "Patient", "url": "Patient.ndjson", "count": 2},
            {"type": "Observation", "url": "Observation.ndjson", "count": 1},
        ],
        "error": [],
        "deleted": [],
    }


def test_a_bundle_resolves_within_itself_and_what_is_shared(bundles: dict[str, Any], small_records: Records) -> None:
    assert min(bundles) == SHARED_FILE
    assert len(bundles) == 1 + small_records.n_patients
    shared = {
        f"{entry['resource']['resourceType']}?identifier={one['system']}|{one['value']}"
        for entry in bundles[SHARED_FILE]["entry"]
        for one in entry["resource"]["identifier"]
    }
    for path, bundle in bundles.items():
        assert bundle["type"] == "transaction"
        inside = [entry["fullUrl"] for entry in bundle["entry"]]
        assert len(set(inside)) == len(inside)
        for entry in bundle["entry"]:
            resource, request = entry["resource"], entry["request"]
            assert entry["fullUrl"] == "urn:uuid:" + resource["id"]
            assert (request["method"], request["url"]) == ("POST", resource["resourceType"])
            assert set(references(resource)) <= (set(inside) if path == SHARED_FILE else shared | set(inside))
            if path == SHARED_FILE:
                system, _, value = request["ifNoneExist"].removeprefix("identifier=").partition("|")
                assert {"system": system, "value": value} in resource["identifier"]


def test_a_bundle_holds_one_patient_and_both_formats_the_same_resources(
    bundles: dict[str, Any], lines: dict[str, list[Any]]
) -> None:
    def plain(resource: Any) -> bytes:
        if isinstance(resource, dict):
            resource = {
                name: None if name == "reference" else orjson.loads(plain(value)) for name, value in resource.items()
            }
        elif isinstance(resource, list):
            resource = [orjson.loads(plain(one)) for one in resource]
        return orjson.dumps(resource)

    bundled = sorted(plain(entry["resource"]) for bundle in bundles.values() for entry in bundle["entry"])
    assert bundled == sorted(plain(one) for found in lines.values() for one in found)
    for path, bundle in bundles.items():
        if path != SHARED_FILE:
            first = bundle["entry"][0]["resource"]
            assert path == f"Patient-{first['id']}.json"
            assert [entry["resource"]["resourceType"] for entry in bundle["entry"]].count("Patient") == 1


@pytest.mark.parametrize("exporter", [NdjsonExporter(), BundleExporter()], ids=lambda one: one.name)
def test_blocks_add_up_to_the_whole(exporter: Exporter, small_records: Records, small: Any) -> None:
    block, shared = small.split(small_records)
    ids = small_records["patient"]["patient_id"].to_pylist()
    whole = files_of(list(exporter.encode(block, shared)))
    parts = [
        part
        for start in range(0, len(ids), 7)
        for part in exporter.encode(block.select_patients(ids[start : start + 7]), shared)
    ]
    # Within a block a file takes one kind of resource after the other, so blocks decide the order of lines.
    found = files_of(parts)
    assert {path: sorted(data.splitlines()) for path, data in found.items()} == {
        path: sorted(data.splitlines()) for path, data in whole.items()
    }


@pytest.mark.parametrize("exporter", [NdjsonExporter(), BundleExporter()], ids=lambda one: one.name)
def test_chunks_add_up_to_the_whole(
    exporter: Exporter, small_records: Records, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = exported(exporter, small_records, small)
    monkeypatch.setattr("ehrsynth.exporters.fhir.resource.CHUNK_ROWS", 5)
    monkeypatch.setattr("ehrsynth.exporters.fhir.ndjson._PLAIN_ROWS", 2)
    monkeypatch.setattr("ehrsynth.exporters.fhir.bundle._ROWS_AT_A_TIME", 100)
    assert exported(exporter, small_records, small) == whole


def unordered(value: Any) -> Any:
    """A resource without the order of its lists, and without notes: they tell in the order of the rows."""
    if isinstance(value, dict):
        return {key: unordered(inner) for key, inner in value.items() if key != "data"}
    return sorted(map(unordered, value), key=orjson.dumps) if isinstance(value, list) else value


def entries(bundle: Any) -> set[bytes]:
    """The entries without their order and that of their lists."""
    return {orjson.dumps(unordered(entry)) for entry in bundle["entry"]}


def test_rows_in_any_order_go_to_their_patients(small_records: Records, small: Any, bundles: dict[str, Any]) -> None:
    turned = small_records.replace(
        **{
            name: small_records[name].take(pa.array(range(small_records[name].num_rows - 1, -1, -1)))
            for name in ("observation", "encounter", "coverage")
        }
    )
    for path, data in exported(BundleExporter(), turned, small).items():
        assert entries(orjson.loads(data)) == entries(bundles[path])


def test_a_row_of_nobody_is_an_error(small_records: Records, small: Any) -> None:
    block, shared = small.split(small_records)
    torn = block.replace(patient=block["patient"].slice(1))
    with pytest.raises(SourceError, match="not there") as caught:
        list(BundleExporter().encode(torn, shared))
    assert caught.value.column == "patient_id"


def test_nobody_shares_anything() -> None:
    from ehrsynth.provenance import Provenance

    nothing = Records.from_tables({}, provenance=Provenance(source="nothing"))
    for exporter in (BundleExporter(), NdjsonExporter()):
        assert list(exporter.begin(nothing)) == []
        assert list(exporter.encode(nothing, nothing)) == []
