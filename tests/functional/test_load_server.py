"""A real FHIR server takes our Bundles, one POST a patient, and has the same content after a load that was killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from ehrsynth import api

pytestmark = pytest.mark.shared

EHRSYNTH = str(Path(sys.executable).with_name("ehrsynth"))
SHARED_TYPES = ("Organization", "Practitioner", "PractitionerRole", "Location")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty patients as Bundles."""
    out = tmp_path_factory.mktemp("fifty") / "out"
    # The smaller of the shipped models: the server takes some 200 resources a second.
    api.generate_files(api.load_model("cardiometabolic_cohort"), out, formats=["fhir-bundle"], population=50, seed=3)
    return out / "fhir-bundle"


@pytest.fixture
def server(shared: Path) -> Iterator[str]:
    """An empty server."""
    command = str(shared / "fhir" / "fhir-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = subprocess.run([command, "start", "--port", port], capture_output=True, text=True, check=False)
    if started.returncode:
        pytest.skip(f"the server does not start: {started.stderr[-200:]}")
    yield f"http://127.0.0.1:{port}/fhir"
    subprocess.run([command, "stop", "--port", port], capture_output=True, check=True)


def get(base: str, path: str) -> dict[str, Any]:
    """Ask the server."""
    with urlopen(f"{base}/{path}", timeout=60) as reply:
        found: dict[str, Any] = json.load(reply)
    return found


def search(base: str, path: str) -> list[dict[str, Any]]:
    """Return all resources that a search finds: a page of this server has 1,000 at most."""
    found: list[dict[str, Any]] = []
    page = get(base, path)
    while True:
        found += [entry["resource"] for entry in page.get("entry", [])]
        further = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not further:
            return found
        page = get(base, further[0].removeprefix(f"{base}/"))


def _is_ours(resource: dict[str, Any]) -> bool:
    """Whether it is test data; the server makes up a hospital and dispensed medications, which do not say so."""
    return "security" in resource.get("meta", {})


def bundles(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """The resources of each Bundle."""
    for path in sorted(folder.glob("*.json")):
        yield [entry["resource"] for entry in json.loads(path.read_bytes())["entry"]]


def test_everything_is_there_also_after_a_kill(folder: Path, server: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    command = [EHRSYNTH, "load", str(folder), "--to", server, "--journal", str(journal), "--json"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and first.poll() is None:
        if journal.exists() and journal.read_text().count('"done"') >= 10:
            break
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (report["failed"], report["outcomes"]) == (0, [])
    assert report["before"] >= 10
    assert report["before"] + report["loaded"] == 51

    sent: dict[str, set[str]] = {}
    for one in bundles(folder):
        for resource in one:
            sent.setdefault(resource["resourceType"], set()).add(resource["id"])
    for kind, ids in sent.items():
        ours = [resource["id"] for resource in search(server, f"{kind}?_count=500") if _is_ours(resource)]
        assert sorted(ours) == sorted(ids)
    # $everything of this server follows its search parameters, and it has none for goals and care teams.
    rest = get(server, "metadata")["rest"][0]["resource"]
    found_by_patient = {one["type"] for one in rest if "patient" in {param["name"] for param in one["searchParam"]}}
    assert {"Claim", "DocumentReference", "MedicationDispense", "Provenance", "Specimen"} <= found_by_patient
    checked = 0
    for one in bundles(folder):
        patient = next((resource for resource in one if resource["resourceType"] == "Patient"), None)
        if patient is None:
            continue
        found = get(server, f"Patient/{patient['id']}/$everything?_count=10000")
        own = {
            (entry["resource"]["resourceType"], entry["resource"]["id"])
            for entry in found["entry"]
            if entry["resource"]["resourceType"] not in SHARED_TYPES and _is_ours(entry["resource"])
        }
        expected = {(resource["resourceType"], resource["id"]) for resource in one}
        assert {key for key in own if key[0] in found_by_patient or key[0] == "Patient"} == {
            key for key in expected if key[0] in found_by_patient or key[0] == "Patient"
        }
        assert own <= expected
        checked += 1
    assert checked == 50
