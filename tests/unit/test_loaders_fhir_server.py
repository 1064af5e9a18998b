"""Loading a server that is well, busy, broken, silent or not there; and going on after an end in the middle."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ehrsynth import api
from ehrsynth.errors import OutputError, SourceError, UsageError
from ehrsynth.loaders import LoadReport, load
from ehrsynth.loaders.fhir_client import token_from_environment
from ehrsynth.records import Records

EHRSYNTH = str(Path(sys.executable).with_name("ehrsynth"))
TOKEN = "s3cret.token-of-nobody"


@pytest.fixture(scope="module")
def fake() -> ModuleType:
    """The module ``tests/unit/fake_fhir_server.py``."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("fake_fhir_server", Path(__file__).with_name("fake_fhir_server.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(fake: ModuleType) -> Iterator[Any]:
    """A server that does what it is asked."""
    with fake.FakeServer() as running:
        yield running


@pytest.fixture(scope="module")
def exported(small_records: Records, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made patients in both styles; not to be written to."""
    out = tmp_path_factory.mktemp("exported") / "out"
    api.export(small_records, out, formats=["fhir-bundle", "fhir-ndjson"])
    return out


@pytest.fixture
def waits() -> list[float]:
    """How long a load would have waited."""
    return []


def run(source: Path, server: Any, tmp_path: Path, waits: list[float], **options: Any) -> LoadReport:
    """Load without waiting."""
    return load(source, server.base, journal=tmp_path / "journal", wait_for=waits.append, **options)


def resources(folder: Path) -> dict[str, Any]:
    """What the NDJSON of a folder holds, by ``Type/id``."""
    found = [json.loads(line) for path in folder.glob("*.ndjson") for line in path.read_bytes().splitlines()]
    return {f"{resource['resourceType']}/{resource['id']}": resource for resource in found}


# -- a server that is well ---------------------------------------------------------------------------------------------


def test_bundles_are_loaded_shared_ones_first(exported: Path, server: Any, tmp_path: Path, waits: list[float]) -> None:
    steps: list[tuple[int, int]] = []
    report = run(exported / "fhir-bundle", server, tmp_path, waits, progress=lambda *at: steps.append(at))
    wanted = resources(exported / "fhir-ndjson")
    assert set(server.store) == set(wanted)
    assert report.resources == len(wanted)
    assert (report.loaded, report.failed, report.before, report.outcomes) == (21, 0, 0, [])
    assert len(server.posts) == 21
    assert {e["resource"]["resourceType"] for e in server.posts[0]["entry"]} & {"Organization", "Practitioner"}
    assert all("Patient" in {e["resource"]["resourceType"] for e in post["entry"]} for post in server.posts[1:])
    assert steps[-1] == (21, 21)
    assert waits == []


def test_lines_are_put_by_type_what_is_referred_to_first(
    exported: Path, server: Any, tmp_path: Path, waits: list[float]
) -> None:
    report = run(exported / "fhir-ndjson", server, tmp_path, waits)
    assert server.store == resources(exported / "fhir-ndjson")
    assert report.resources == len(server.store)
    kinds = list(dict.fromkeys(post["entry"][0]["resource"]["resourceType"] for post in server.posts))
    assert kinds.index("Organization") < kinds.index("Location") < kinds.index("Patient") < kinds.index("Encounter")
    assert kinds.index("Encounter") < kinds.index("Condition") < kinds.index("MedicationRequest")
    assert all(len(post["entry"]) <= 100 and post["type"] == "batch" for post in server.posts)


def test_packed_lines_and_searchsets_load_too(exported: Path, server: Any, tmp_path: Path, waits: list[float]) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    for path in (exported / "fhir-ndjson").glob("*.ndjson"):
        (packed / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    run(packed, server, tmp_path, waits)
    wanted = resources(exported / "fhir-ndjson")
    assert server.store == wanted
    server.store.clear()
    bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in wanted.values()]}
    (tmp_path / "search.json").write_text(json.dumps(bundle))
    load(tmp_path / "search.json", server.base, journal=tmp_path / "journal2")
    assert server.store == wanted


def test_what_is_loaded_is_not_sent_again_but_what_changed_is(
    exported: Path, server: Any, tmp_path: Path, waits: list[float]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for path in (exported / "fhir-bundle").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    run(folder, server, tmp_path, waits)
    sent = len(server.posts)
    again = run(folder, server, tmp_path, waits)
    assert len(server.posts) == sent
    assert (again.loaded, again.before) == (0, 21)
    changed = next(folder.glob("Patient-*"))
    changed.write_text(changed.read_text().replace('"gender":"', '"gender": "'))
    assert run(folder, server, tmp_path, waits).loaded == 1


def test_post_sends_bundles_as_they_stand(exported: Path, server: Any, tmp_path: Path, waits: list[float]) -> None:
    run(exported / "fhir-bundle", server, tmp_path, waits, method="post")
    assert {e["request"]["method"] for post in server.posts for e in post["entry"]} == {"POST"}
    assert len(server.store) == len(resources(exported / "fhir-ndjson"))


# -- a server that is busy or broken -----------------------------------------------------------------------------------


def test_a_busy_server_is_asked_again_when_it_wants(
    exported: Path, server: Any, fake: ModuleType, tmp_path: Path, waits: list[float]
) -> None:
    server.answer = lambda number, bundle: (429, {"Retry-After": "7"}, None) if number < 2 else None
    report = run(exported / "fhir-bundle", server, tmp_path, waits, concurrency=1)
    assert waits == [7.0, 7.0]
    assert (report.loaded, report.failed) == (21, 0)


def test_without_a_wish_waits_grow_at_most_by_two(
    exported: Path, server: Any, tmp_path: Path, waits: list[float]
) -> None:
    server.answer = lambda number, bundle: (503, {}, None) if number < 5 else None
    report = run(exported / "fhir-bundle", server, tmp_path, waits, concurrency=1)
    assert report.failed == 0
    assert len(waits) == 5
    assert all(0 <= wait <= 0.5 * 2**number for number, wait in enumerate(waits))


def test_a_server_that_stays_broken_is_left_alone(
    exported: Path, server: Any, fake: ModuleType, tmp_path: Path, waits: list[float]
) -> None:
    server.answer = lambda number, bundle: (500, {}, fake.outcome("database is gone")) if number >= 3 else None
    with pytest.raises(OutputError, match="database is gone") as caught:
        run(exported / "fhir-bundle", server, tmp_path, waits, retries=2, concurrency=1)
    assert "3 of 21" in str(caught.value)
    assert len(server.posts) < 3 + 21 * 3
    server.answer = lambda number, bundle: None
    report = run(exported / "fhir-bundle", server, tmp_path, waits)
    assert (report.before, report.loaded) == (3, 18)
    assert set(server.store) == set(resources(exported / "fhir-ndjson"))


def test_what_the_server_does_not_take_is_counted_with_an_example(
    exported: Path, server: Any, fake: ModuleType, tmp_path: Path, waits: list[float]
) -> None:
    def answer(number: int, bundle: dict[str, Any]) -> Any:
        return (
            (422, {}, fake.outcome(f"value {number} of {'0' * 8}-1111-2222-3333-444444444444")) if number > 17 else None
        )

    server.answer = answer
    report = run(exported / "fhir-bundle", server, tmp_path, waits, concurrency=1)
    assert (report.loaded, report.failed) == (18, 3)
    (said,) = report.outcomes
    assert (said.severity, said.code, said.count) == ("error", "processing", 3)
    assert said.example == "value 18 of 00000000-1111-2222-3333-444444444444"
    assert said.parcel.startswith("Patient-")
    server.answer = lambda number, bundle: None
    assert run(exported / "fhir-bundle", server, tmp_path, waits).loaded == 3


def test_of_a_batch_only_what_has_to_wait_is_sent_again(
    exported: Path, server: Any, fake: ModuleType, tmp_path: Path, waits: list[float]
) -> None:
    tried: Counter[str] = Counter()

    def answer(entry: dict[str, Any]) -> Any:
        url = entry["request"]["url"]
        tried[url] += 1
        if url.startswith("Patient/") and tried[url] == 1:
            return "429 Too Many Requests", fake.outcome("slow down")
        if url.startswith("Device/") and url < "Device/8":
            return "422 Unprocessable Entity", fake.outcome("no such device")
        return None

    server.entry_answer = answer
    report = run(exported / "fhir-ndjson", server, tmp_path, waits)
    wanted = resources(exported / "fhir-ndjson")
    broken = {name for name in wanted if name.startswith("Device/") and name < "Device/8"}
    assert broken
    assert set(server.store) == set(wanted) - broken
    assert report.refused == len(broken)
    assert report.resources == len(wanted) - len(broken)
    assert [(o.example, o.count) for o in report.outcomes] == [("no such device", len(broken))]
    assert {count for name, count in tried.items() if name.startswith("Encounter/")} == {1}
    assert {count for name, count in tried.items() if name.startswith("Patient/")} == {2}


@pytest.mark.parametrize("method", ["put", "post"])
@pytest.mark.parametrize("how", ["drop", "hang"])
def test_a_lost_answer_makes_nothing_twice(
    exported: Path, server: Any, tmp_path: Path, waits: list[float], method: str, how: str
) -> None:
    server.answer = lambda number, bundle: how if number == 4 else None
    report = run(exported / "fhir-bundle", server, tmp_path, waits, method=method, timeout=1.0, concurrency=1)
    wanted = Counter(name.partition("/")[0] for name in resources(exported / "fhir-ndjson"))
    assert Counter(name.partition("/")[0] for name in server.store) == wanted
    assert (report.loaded, report.failed) == (21, 0)


def test_what_nobody_knows_is_not_sent_again(server: Any, tmp_path: Path, waits: list[float]) -> None:
    entry = {"resource": {"resourceType": "Basic"}, "request": {"method": "POST", "url": "Basic"}}
    (tmp_path / "one.json").write_text(json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}))
    server.answer = lambda number, bundle: "drop"
    for _ in range(2):
        report = run(tmp_path / "one.json", server, tmp_path, waits)
        assert report.failed == 1
        assert "nothing tells" in report.outcomes[0].text
    assert len(server.posts) == 1


# -- a server that is not there or does not know us --------------------------------------------------------------------


def test_nothing_listens(exported: Path, tmp_path: Path, waits: list[float]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{taken.getsockname()[1]}/fhir"
        with pytest.raises(OutputError, match="cannot be reached"):
            load(exported / "fhir-bundle", base, journal=tmp_path / "journal", wait_for=waits.append)
    assert waits == []
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize(
    ("status", "body", "word"),
    [
        (404, None, "no FHIR server"),
        (200, {"resourceType": "Patient"}, "no FHIR server"),
        (200, {"resourceType": "CapabilityStatement", "fhirVersion": "3.0.2"}, "3.0.2"),
        (401, None, "EHRSYNTH_FHIR_TOKEN"),
        (302, None, "elsewhere"),
    ],
)
def test_no_server_of_fhir_r4(
    exported: Path, server: Any, tmp_path: Path, waits: list[float], status: int, body: Any, word: str
) -> None:
    server.metadata = (status, body)
    with pytest.raises(OutputError, match=word):
        run(exported / "fhir-bundle", server, tmp_path, waits)
    assert server.posts == []


def test_the_token_is_sent_and_shown_nowhere(
    exported: Path, server: Any, fake: ModuleType, tmp_path: Path, waits: list[float]
) -> None:
    server.answer = lambda number, bundle: (422, {}, fake.outcome(f"who is {TOKEN}?")) if number == 1 else None
    report = run(exported / "fhir-bundle", server, tmp_path, waits, token=TOKEN, concurrency=1)
    assert server.tokens == {f"Bearer {TOKEN}"}
    assert report.outcomes[0].example == "who is ***?"
    assert TOKEN not in json.dumps(report.to_dict())
    assert TOKEN not in (tmp_path / "journal").read_text()
    server.answer = lambda number, bundle: (401, {}, fake.outcome(f"not {TOKEN}"))
    with pytest.raises(OutputError, match="does not let us in") as caught:
        run(exported / "fhir-bundle", server, tmp_path, waits, token=TOKEN)
    assert TOKEN not in str(caught.value)


def test_a_token_that_is_none_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRSYNTH_FHIR_TOKEN", "two words\nand a line")
    with pytest.raises(UsageError) as caught:
        token_from_environment()
    assert "words" not in str(caught.value)


@pytest.mark.parametrize(
    "base", ["ftp://server/fhir", "server/fhir", "https://", "https://me:word@server/fhir", "https://a/?b", "http://[x"]
)
def test_addresses_that_cannot_be(exported: Path, tmp_path: Path, base: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(exported / "fhir-bundle", base, journal=tmp_path / "journal")
    assert "word" not in str(caught.value).replace("password", "")


def test_a_token_does_not_cross_a_network_in_the_clear(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="in the clear"):
        load(exported / "fhir-bundle", "http://server.example/fhir", token=TOKEN, journal=tmp_path / "journal")


# -- what cannot be loaded, and the journal ----------------------------------------------------------------------------


def test_a_broken_file_is_counted_and_the_rest_loaded(
    exported: Path, server: Any, tmp_path: Path, waits: list[float]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for path in (exported / "fhir-bundle").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    broken = next(folder.glob("Patient-*"))
    broken.write_bytes(broken.read_bytes()[:-20])
    report = run(folder, server, tmp_path, waits)
    assert (report.loaded, report.failed) == (20, 1)
    assert "not JSON" in report.outcomes[0].text
    assert broken.name in report.outcomes[0].example


def test_folders_with_nothing_or_too_much(exported: Path, server: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both"):
        load(exported, server.base, journal=tmp_path / "journal")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no FHIR"):
        load(tmp_path / "empty", server.base)
    with pytest.raises(SourceError, match="no such"):
        load(tmp_path / "none", server.base)
    (tmp_path / "cut.ndjson.gz").write_bytes(gzip.compress(b'{"resourceType":"Patient","id":"1"}\n' * 99)[:-9])
    with pytest.raises(SourceError, match="cut off"):
        load(tmp_path / "cut.ndjson.gz", server.base)
    with pytest.raises(UsageError, match="method"):
        load(exported, server.base, method="patch")


def test_journals_of_others_and_torn_ones(exported: Path, server: Any, tmp_path: Path, waits: list[float]) -> None:
    journal = tmp_path / "journal"
    journal.write_text('{"what": "else"}\n')
    with pytest.raises(OutputError, match="no journal of ours"):
        run(exported / "fhir-bundle", server, tmp_path, waits)
    journal.write_text('{"format": "ehrsynth-load-journal", "server": "https://other/fhir"}\n')
    with pytest.raises(OutputError, match="https://other/fhir"):
        run(exported / "fhir-bundle", server, tmp_path, waits)
    journal.unlink()
    run(exported / "fhir-bundle", server, tmp_path, waits)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-9])
    report = run(exported / "fhir-bundle", server, tmp_path, waits)
    assert (report.before, report.loaded) == (20, 1)
    assert run(exported / "fhir-bundle", server, tmp_path, waits).before == 21
    with pytest.raises(OutputError, match="journal cannot be kept"):
        load(exported / "fhir-bundle", server.base, journal=tmp_path / "none" / "journal")


@pytest.mark.parametrize("method", ["put", "post"])
def test_a_load_that_is_killed_goes_on_where_it_stopped(
    exported: Path, server: Any, tmp_path: Path, method: str
) -> None:
    journal = tmp_path / "journal"
    command = [EHRSYNTH, "load", str(exported / "fhir-bundle"), "--to", server.base, "--journal", str(journal)]
    command += ["--method", method, "--json"]
    started: list[subprocess.Popen[str]] = []

    def answer(number: int, bundle: dict[str, Any]) -> Any:
        # In the middle of a request that the server carries out.
        if number == 9:
            os.kill(started[0].pid, signal.SIGKILL)
        return None

    server.answer = answer
    started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    started[0].communicate()
    assert started[0].returncode == -signal.SIGKILL
    assert len(server.posts) < 21
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["failed"] == 0
    assert report["before"] > 0
    wanted = Counter(name.partition("/")[0] for name in resources(exported / "fhir-ndjson"))
    assert Counter(name.partition("/")[0] for name in server.store) == wanted


def test_the_command_says_what_failed(exported: Path, server: Any, fake: ModuleType, tmp_path: Path) -> None:
    server.answer = lambda number, bundle: (422, {}, fake.outcome("no such code")) if number == 3 else None
    command = [EHRSYNTH, "load", str(exported / "fhir-bundle"), "--to", server.base, "--journal", str(tmp_path / "j")]
    variables = {**os.environ, "EHRSYNTH_FHIR_TOKEN": TOKEN, "COLUMNS": "160"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 6
    assert "no such code" in done.stdout
    assert "20 of 21 parcels loaded" in done.stdout
    assert "1 of 21 parcels were not loaded" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert server.tokens == {f"Bearer {TOKEN}"}
