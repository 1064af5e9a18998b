"""Styles of output: PUT by id, what is shared inside each Bundle, packed and split files; who gets which option."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

import ehrsynth
from ehrsynth.engines import Output
from ehrsynth.errors import UsageError
from ehrsynth.exporters import Exporter, Part, make_exporters
from ehrsynth.exporters.fhir.bundle import SHARED_FILE, BundleExporter, PutExporter
from ehrsynth.exporters.fhir.ndjson import NdjsonExporter
from ehrsynth.exporters.tables import CsvExporter
from ehrsynth.records import Records


def exported(exporter: Exporter, records: Records, small: Any) -> dict[str, bytes]:
    block, shared = small.split(records)
    data: dict[str, bytes] = defaultdict(bytes)
    for part in (*exporter.begin(shared), *exporter.encode(block, shared)):
        data[part.path] += part.data
    return dict(data)


def everything(value: Any) -> Iterator[Any]:
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from everything(inner)


def references(resource: Any) -> set[str]:
    found = (one.get("reference") for one in everything(resource) if isinstance(one, dict))
    return {one for one in found if isinstance(one, str)}


def resources_of(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [entry["resource"] for data in files.values() for entry in orjson.loads(data)["entry"]]


@pytest.fixture(scope="module")
def inline(small_records: Records, small: Any) -> dict[str, bytes]:
    return exported(BundleExporter(shared="inline"), small_records, small)


def test_a_bundle_with_what_is_shared_stands_alone(inline: dict[str, bytes], small_records: Records) -> None:
    assert SHARED_FILE not in inline
    assert len(inline) == small_records.n_patients
    for data in inline.values():
        entries = orjson.loads(data)["entry"]
        urls = [entry["fullUrl"] for entry in entries]
        assert len(set(urls)) == len(urls)
        assert {reference for entry in entries for reference in references(entry["resource"])} <= set(urls)


def test_a_bundle_holds_only_what_its_patient_leads_to(inline: dict[str, bytes]) -> None:
    leftovers = 0
    for data in inline.values():
        entries = {entry["fullUrl"]: entry for entry in orjson.loads(data)["entry"]}
        shared = {url for url, entry in entries.items() if "ifNoneExist" in entry["request"]}
        assert all(
            entries[url]["request"]["ifNoneExist"].endswith(f"|{entries[url]['resource']['id']}") for url in shared
        )
        reached = {url for entry in entries.values() for url in references(entry["resource"])}
        for url in shared - reached:
            # A role is there for its practitioner, an endpoint for its organization, who do not name them.
            one = entries[url]["resource"]
            owner = {"PractitionerRole": "practitioner", "Endpoint": "managingOrganization"}[one["resourceType"]]
            assert one[owner]["reference"] in shared
            leftovers += 1
    assert leftovers


def test_inline_and_first_say_the_same_of_patients(
    inline: dict[str, bytes], small_records: Records, small: Any
) -> None:
    first = exported(BundleExporter(), small_records, small)
    shared = {one["id"]: one for one in resources_of({"": first.pop(SHARED_FILE)})}
    own = {one["id"] for one in resources_of(first)}
    for one in resources_of(inline):
        assert one == shared[one["id"]] if one["id"] in shared else one["id"] in own
    assert own <= {one["id"] for one in resources_of(inline)}


def test_put_by_id_is_the_graph_of_the_lines(small_records: Records, small: Any) -> None:
    files = exported(PutExporter(), small_records, small)
    lines = exported(NdjsonExporter(), small_records, small)
    want = {line for data in lines.values() for line in data.splitlines()}
    assert {orjson.dumps(one) for one in resources_of(files)} == {orjson.dumps(orjson.loads(line)) for line in want}
    for data in files.values():
        for entry in orjson.loads(data)["entry"]:
            name = f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
            assert entry["request"] == {"method": "PUT", "url": name}
            assert entry["fullUrl"].endswith(f"/fhir/{name}")


@pytest.mark.parametrize("kind", [NdjsonExporter, CsvExporter])
def test_packed_files_unpack_to_the_same(kind: Any, small_records: Records, small: Any) -> None:
    plain, packed = exported(kind(), small_records, small), exported(kind(compress="gzip"), small_records, small)
    assert {f"{path}.gz" for path in plain} == set(packed)
    assert all(gzip.decompress(packed[f"{path}.gz"]) == data for path, data in plain.items())
    assert all(data[4:8] == b"\x00\x00\x00\x00" for data in packed.values()), "no time stands in the header"
    assert packed == exported(kind(compress="gzip"), small_records, small)


def test_a_packed_and_split_run_is_whole_for_any_number_of_workers(models: ModuleType, tmp_path: Path) -> None:
    options = {"compress": "gzip", "split_mb": 1}
    formats = ["fhir-ndjson", "csv"]
    summary = ehrsynth.generate_files(
        models.tiny_model(), tmp_path / "o", formats=formats, population=1100, options=options
    )
    ehrsynth.generate_files(models.tiny_model(), tmp_path / "p", formats=["fhir-ndjson"], population=1100)
    folder = tmp_path / "o" / "fhir-ndjson"
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    joined: dict[str, bytes] = defaultdict(bytes)
    for item in manifest["output"]:
        data = gzip.decompress((folder / item["url"]).read_bytes())
        assert data.count(b"\n") == item["count"]
        joined[item["type"]] += data
    for name, data in joined.items():
        assert data == (tmp_path / "p" / "fhir-ndjson" / f"{name}.ndjson").read_bytes()
    assert orjson.loads((tmp_path / "o" / "manifest.json").read_bytes())["options"] == options
    assert ehrsynth.read(tmp_path / "o" / "csv").n_patients == 1100
    other = ehrsynth.generate_files(
        models.tiny_model(), tmp_path / "q", formats=formats, population=1100, options=options, workers=2
    )
    assert other.files == summary.files


def test_a_split_file_is_full_before_the_next_begins(models: ModuleType, tmp_path: Path) -> None:
    ehrsynth.generate_files(
        models.tiny_model(), tmp_path / "o", formats=["fhir-ndjson"], population=1024, options={"split_mb": 2}
    )
    files = sorted((tmp_path / "o" / "fhir-ndjson").glob("Observation.*.ndjson"))
    assert [path.name for path in files] == [f"Observation.{n:03d}.ndjson" for n in range(len(files))]
    assert len(files) > 1
    sizes = [path.stat().st_size for path in files]
    assert max(sizes) <= 2_000_000
    assert min(sizes[:-1]) > 900_000
    assert all(path.read_bytes().endswith(b"}\n") for path in files)


def test_a_part_larger_than_the_limit_is_a_file_of_its_own(tmp_path: Path) -> None:
    with Output(tmp_path / "out") as output:
        writer = output.format("x")
        writer.write(Part("a/b.ndjson", data, 1, split_at=4) for data in (b"12\n", b"345678\n", b"9\n", b"0\n"))
        assert {path: entry["bytes"] for path, entry in writer.files.items()} == {
            "a/b.000.ndjson": 3,
            "a/b.001.ndjson": 7,
            "a/b.002.ndjson": 4,
        }


def test_an_option_reaches_the_exporters_that_know_it() -> None:
    made: Any = make_exporters(["csv", "fhir-ndjson", "fhir-put"], {"compress": "gzip", "split_mb": 3})
    assert (made["csv"].compress, made["fhir-ndjson"].compress, made["fhir-ndjson"].split_at) == (
        "gzip",
        "gzip",
        3_000_000,
    )
    assert isinstance(made["fhir-put"], PutExporter)


@pytest.mark.parametrize(
    ("formats", "options", "word"),
    [
        (["csv"], {"shared": "inline"}, "shared"),
        (["fhir-bundle"], {"shared": "last"}, "last"),
        (["csv"], {"compress": "zip"}, "zip"),
        (["fhir-ndjson"], {"split_mb": 0}, "0 MB"),
    ],
)
def test_an_option_that_cannot_be(formats: list[str], options: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        make_exporters(formats, options)


def test_the_summary_knows_real_records(small_records: Records, tmp_path: Path) -> None:
    from dataclasses import replace

    real = Records(
        tables=dict(small_records.tables),
        schema=small_records.schema,
        provenance=replace(small_records.provenance, synthetic=False),
    )
    assert not ehrsynth.export(real, tmp_path / "a", formats=["csv"]).synthetic
    assert ehrsynth.export(small_records, tmp_path / "b", formats=["csv"]).synthetic
