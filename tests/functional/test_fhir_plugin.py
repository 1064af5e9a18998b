"""A package that is installed beside ours adds a resource and an extension to FHIR, and nothing of ours is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ehrsynth
from ehrsynth.records import Records

PLUGIN = """
from ehrsynth.exporters.fhir.resource import Addition, Resource
from ehrsynth.exporters.fhir.values import Link, Text

FLAG = Resource(
    type="Flag",
    table="patient",
    kind="flag",
    derived=True,
    elements={"status": "active", "code": {"text": "Lives in a city"}, "subject": Link("patient")},
)
CITY = Addition(
    type="Patient",
    elements={"extension": [{"url": "https://plugin.example/city", "valueString": Text("city")}]},
)
BOTH = [FLAG, CITY]
"""


def test_an_installed_package_adds_a_resource_and_an_extension(tmp_path: Path, small_records: Records) -> None:
    plugin = tmp_path / "plugin"
    about = plugin / "city_plugin-1.0.dist-info"
    about.mkdir(parents=True)
    (plugin / "city_plugin.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: city-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[ehrsynth.fhir_resources]\ncity = city_plugin:BOTH\n")
    ehrsynth.export(small_records, tmp_path / "tables", formats=["csv"])
    command = [Path(sys.executable).with_name("ehrsynth"), "export", tmp_path / "tables/csv", "-o"]
    formats = ["-f", "fhir-ndjson", "-f", "fhir-bundle"]
    for out, path in (("with", str(plugin)), ("without", "")):
        where = os.pathsep.join(part for part in (path, os.environ.get("PYTHONPATH")) if part)
        words = [*map(str, command), str(tmp_path / out), *formats]
        subprocess.run(words, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": where})
    patients = (tmp_path / "with/fhir-ndjson/Patient.ndjson").read_bytes().splitlines()
    ours = (tmp_path / "without/fhir-ndjson/Patient.ndjson").read_bytes().splitlines()
    added = {"url": "https://plugin.example/city", "valueString": "Boston"}
    assert json.loads(patients[0])["extension"] == [*json.loads(ours[0])["extension"], added]
    flags = [json.loads(line) for line in (tmp_path / "with/fhir-ndjson/Flag.ndjson").read_bytes().splitlines()]
    assert [flag["subject"]["reference"] for flag in flags] == [f"Patient/{json.loads(one)['id']}" for one in ours]
    assert not (tmp_path / "without/fhir-ndjson/Flag.ndjson").exists()
    bundles = list((tmp_path / "with/fhir-bundle").glob("Patient-*.json"))
    assert len(bundles) == small_records.n_patients
    assert all("Flag" in {e["resource"]["resourceType"] for e in json.loads(b.read_bytes())["entry"]} for b in bundles)
