"""The command line end to end, as a user runs it: in its own process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from ehrsynth.model.package import save

from .long_runs import POPULATION, started

EHRSYNTH = str(Path(sys.executable).with_name("ehrsynth"))


def run(*words: str | Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command and check its exit code; there is never a traceback."""
    done = subprocess.run(
        [EHRSYNTH, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def model(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in a file."""
    path = tmp_path_factory.mktemp("model") / "tiny.ehrsynth"
    save(models.tiny_model(), path)
    return path


@pytest.fixture(scope="module")
def made(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients in every format, by the command."""
    out = tmp_path_factory.mktemp("made") / "out"
    run("generate", model, "-p", 60, "-s", 7, "-o", out, "-f", "fhir-ndjson", "-f", "csv", "-f", "fhir-bundle")
    return out


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_generate_writes_every_format_and_a_manifest(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    assert manifest["population"] == 60
    assert manifest["synthetic"] is True
    import hashlib

    listed = {f"{name}/{path}": entry for name, f in manifest["formats"].items() for path, entry in f["files"].items()}
    files = tree(made)
    assert set(files) == {*listed, "manifest.json"}
    for path, entry in listed.items():
        assert entry["sha256"] == hashlib.sha256(files[path]).hexdigest()
        assert entry["bytes"] == len(files[path])
    assert manifest["row_counts"]["patient"] == 60


def test_generate_says_what_it_did(model: Path, tmp_path: Path) -> None:
    done = run("generate", model, "-p", 3, "-o", tmp_path / "a", "-f", "csv")
    assert "3 synthetic patients" in done.stdout
    summary = json.loads(run("generate", model, "-p", 3, "-o", tmp_path / "b", "-f", "csv", "--json").stdout)
    assert summary["patients"] == summary["row_counts"]["patient"] == 3
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["csv", "fhir-ndjson", "fhir-bundle"])
def test_what_was_generated_is_valid(made: Path, name: str) -> None:
    report = json.loads(run("validate", made / name, "--json", "--sample", 20).stdout)
    assert [issue for issue in report["issues"] if issue["severity"] == "error"] == []
    assert sum(report["counts"].values()) > 60


def test_export_of_the_csv_gives_the_same_fhir(made: Path, tmp_path: Path) -> None:
    run("export", made / "csv", "-o", tmp_path / "again", "-f", "fhir-ndjson")
    first, again = tree(made / "fhir-ndjson"), tree(tmp_path / "again/fhir-ndjson")
    assert set(first) == set(again)
    for name, data in first.items():
        if name.endswith(".ndjson"):
            assert again[name] == data, name


def test_show_draws_a_timeline(made: Path) -> None:
    text = run("show", made / "csv", "--patient", 2).stdout
    assert "born" in text
    assert "age" in text
    rows = json.loads(run("show", made / "csv", "--json").stdout)
    assert len(rows["patient"]) == 1
    assert "There are 60" in run("show", made / "csv", "--patient", 61, code=2).stderr


def test_models_and_vocabularies(model: Path) -> None:
    assert "Bayesian network" in run("models", "show", model).stdout
    assert json.loads(run("models", "show", model, "--json").stdout)["min_patients"] >= 1
    assert json.loads(run("models", "list", "--json").stdout)["default"]
    listed = run("models", "list").stdout
    assert "ODbL-1.0" in listed
    assert " kB" in listed
    assert "What it must not be used for" in run("models", "show", "acute_inpatient", "--readme").stdout
    assert "Only shipped models have a README" in run("models", "show", "mine", "--readme", code=4).stderr
    assert "icd10cm" in run("vocabularies", "list").stdout
    assert "male only" in run("vocabularies", "show", "icd10cm", "N40.0").stdout
    assert "E11" in run("vocabularies", "search", "type", "2", "diabetes").stdout
    assert "search" in run("vocabularies", "show", "icd10cm", "ZZZ", code=2).stderr


def test_nothing_but_learning_loads_torch(model: Path, tmp_path: Path) -> None:
    done = run("generate", model, "-p", 1, "-o", tmp_path / "o", PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "pyarrow" in loaded
    assert not {"torch", "pomegranate", "fhir.resources", "pandas.core"} & loaded


# -- bad input: a clear error, an exit code of its own, nothing left behind ------------------------------------------


@pytest.fixture
def omop(tmp_path: Path) -> Path:
    """The smallest OMOP folder."""
    folder = tmp_path / "omop"
    folder.mkdir()
    (folder / "person.csv").write_text(
        "person_id,gender_concept_id,year_of_birth,race_concept_id,ethnicity_concept_id\n"
        + "".join(f"{i},{8532 if i % 2 else 8507},1950,8527,0\n" for i in range(1, 4))
    )
    (folder / "visit_occurrence.csv").write_text(
        "visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_end_date,visit_type_concept_id\n"
        "1,1,9202,2019-01-05,2019-01-05,32817\n2,2,9201,2019-02-05,2019-02-09,32817\n"
    )
    return folder


def edit(path: Path, old: str, new: str) -> None:
    """Change a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(folder: Path, output: Path, code: int, *words: str) -> str:
    """Learn from a folder, expect `code`, and that no model is left; return what was said."""
    said = run("learn", folder, "--format", "omop", "-o", output, code=code).stderr
    assert not output.exists()
    assert not list(output.parent.glob("*.partial"))
    for word in words:
        assert word in said
    return said


def test_no_such_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none", tmp_path / "m.ehrsynth", 3, "none")
    assert "There is no such" in run("validate", tmp_path / "none", code=3).stderr
    run("export", tmp_path / "none", "-o", tmp_path / "o", code=3)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", tmp_path / "m.ehrsynth", 3, "empty")
    run("validate", tmp_path / "empty", code=3)


def test_a_table_without_its_key_column(omop: Path, tmp_path: Path) -> None:
    edit(omop / "person.csv", "person_id", "persona")
    refused(omop, tmp_path / "m.ehrsynth", 3, "person.csv", "person_id")


def test_a_date_that_is_none(omop: Path, tmp_path: Path) -> None:
    edit(omop / "visit_occurrence.csv", "2019-02-05", "2019-13-45")
    refused(omop, tmp_path / "m.ehrsynth", 3, "visit_occurrence.csv", "row 2", "visit_start_date", "2019-13-45")


def test_an_orphan_visit(omop: Path, tmp_path: Path) -> None:
    edit(omop / "visit_occurrence.csv", "2,2,9201", "2,77,9201")
    refused(omop, tmp_path / "m.ehrsynth", 3, "visit_occurrence.csv", "row 2", "person_id", "77")


def test_a_duplicate_key(omop: Path, tmp_path: Path) -> None:
    edit(omop / "visit_occurrence.csv", "2,2,9201", "1,2,9201")
    refused(omop, tmp_path / "m.ehrsynth", 3, "visit_occurrence.csv", "row 2", "visit_occurrence_id")


def test_too_few_people(omop: Path, tmp_path: Path) -> None:
    pytest.importorskip("pomegranate")
    refused(omop, tmp_path / "m.ehrsynth", 5)


def test_a_truncated_model(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.ehrsynth"
    broken.write_bytes(model.read_bytes()[:1000])
    assert "not a whole zip" in run("generate", broken, "-o", tmp_path / "o", code=4).stderr
    assert [p.name for p in tmp_path.iterdir()] == ["broken.ehrsynth"]


def test_a_model_of_a_newer_format_and_a_zip_that_climbs_out(model: Path, tmp_path: Path) -> None:
    for name, content in (
        ("package.json", '{"format": "ehrsynth-model", "format_number": 99, "members": {}}'),
        ("../x", ""),
    ):
        bad = tmp_path / "bad.ehrsynth"
        with zipfile.ZipFile(bad, "w") as archive:
            archive.writestr(name, content)
        said = run("generate", bad, "-o", tmp_path / "o", code=4).stderr
        assert "upgrade" in said or "climbs out" in said
    assert [p.name for p in tmp_path.iterdir()] == ["bad.ehrsynth"]


def test_an_unknown_model_and_format(model: Path, tmp_path: Path) -> None:
    assert "cardiometabolic_cohort" in run("generate", "cardiometabolic_cohrt", "-o", tmp_path / "o", code=4).stderr
    said = run("generate", model, "-o", tmp_path / "o", "-f", "fhir_ndjson", code=2).stderr
    assert "'fhir-ndjson'" in said
    assert "'omop'" in run("learn", tmp_path, "--format", "ommop", "-o", tmp_path / "m", code=2).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("population", ["0", "-3"])
def test_a_population_that_cannot_be(model: Path, tmp_path: Path, population: str) -> None:
    said = run("generate", model, "-p", population, "-o", tmp_path / "o", code=2).stderr
    assert population in said
    assert list(tmp_path.iterdir()) == []


def test_an_option_that_is_no_number(model: Path, tmp_path: Path) -> None:
    assert "--population" in run("generate", model, "-p", "many", "-o", tmp_path / "o", code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reference_date_that_is_none(model: Path, tmp_path: Path) -> None:
    assert "2025-02-30" in run("generate", model, "--reference-date", "2025-02-30", "-o", tmp_path / "o", code=2).stderr


def test_an_output_that_is_not_empty(model: Path, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o/mine.txt").write_text("precious")
    assert "not empty" in run("generate", model, "-p", 2, "-o", tmp_path / "o", code=6).stderr
    assert tree(tmp_path) == {"o/mine.txt": b"precious"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(model: Path, small_disk: Path) -> None:
    said = run("generate", model, "-p", 500, "-o", small_disk / "o", "-f", "csv", code=6).stderr
    assert "disk is full" in said
    assert list(small_disk.iterdir()) == []


def group_ends(group: int) -> bool:
    """Whether no process of the group is left after a moment (multiprocessing's own tracker leaves last)."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@contextmanager
def long_run(model: Path, tmp_path: Path, workers: int) -> Iterator[subprocess.Popen[str]]:
    """A run that has begun to write its patients."""
    words = ["generate", str(model), "-p", str(POPULATION), "-w", str(workers), "-o", str(tmp_path / "o"), "-f", "csv"]
    with started([EHRSYNTH, *words]) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".o.partial/csv/encounter.csv")) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield process


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c(model: Path, tmp_path: Path, workers: int) -> None:
    with long_run(model, tmp_path, workers) as process:
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    assert group_ends(process.pid)


def test_a_worker_that_is_killed(model: Path, tmp_path: Path) -> None:
    with long_run(model, tmp_path, 2) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("needs /proc")
        workers = children.read_text().split()
        assert len(workers) == 2
        os.kill(int(workers[0]), signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "worker process died" in said
    assert list(tmp_path.iterdir()) == []


def test_same_seed_same_bytes(model: Path, tmp_path: Path) -> None:
    words = ("generate", model, "-p", 1500, "-s", 3, "-f", "csv", "-f", "fhir-ndjson")
    run(*words, "-o", tmp_path / "a", PYTHONHASHSEED="1")
    run(*words, "-o", tmp_path / "b", "-w", 2, PYTHONHASHSEED="2", OMP_NUM_THREADS="1")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    shutil.rmtree(tmp_path / "b")
    run("generate", model, "-p", 1500, "-s", 4, "-f", "csv", "-o", tmp_path / "c")
    assert (tmp_path / "c/csv/patient.csv").read_bytes() != (tmp_path / "a/csv/patient.csv").read_bytes()


def test_the_first_patients_do_not_depend_on_how_many(model: Path, tmp_path: Path) -> None:
    for n in (100, 3000):
        run("generate", model, "-p", n, "-s", 7, "-f", "csv", "-o", tmp_path / str(n))
    few, many = tree(tmp_path / "100/csv"), tree(tmp_path / "3000/csv")
    for name, data in few.items():
        if name.endswith(".csv"):
            assert many[name].startswith(data), name


def test_learn_from_fhir(made: Path, tmp_path: Path, fhir_carried: ModuleType) -> None:
    pytest.importorskip("pomegranate")
    words = ("--min-patients", 2, "--states", 2, "--classes", 1, "--json")
    for style in ("fhir-ndjson", "fhir-bundle"):
        mine = tmp_path / f"{style}.ehrsynth"
        said = json.loads(run("learn", made / style, "--format", "fhir", "-o", mine, *words).stdout)
        read = said["read"]["rows_read"]
        # What was derived from the records is not learned from twice.
        taken = {kind: n for kind, n in said["read"]["rows_taken"].items() if kind not in fhir_carried.DERIVED_BESIDE}
        assert taken == {kind: 0 if kind in fhir_carried.DERIVED else read[kind] for kind in taken}
        assert said["read"]["rows_taken"]["Patient"] == 60
        run("generate", mine, "-p", 5, "-o", tmp_path / style, "-f", "csv")
        assert json.loads((tmp_path / style / "manifest.json").read_text())["row_counts"]["patient"] == 5


def test_any_layout_is_read_through_a_mapping(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "people.csv").write_text("id,born,sex\n1,1950-02-03,M\n")
    mapping = tmp_path / "my.toml"
    rule = '[patient]\npatient_id = "id"\nbirth_date = "born"\nsex = { column = "sex", map = { M = "male" } }\n'
    mapping.write_text(rule)
    run("export", source, "--mapping", mapping, "-f", "csv", "-o", tmp_path / "out")
    assert "1950-02-03" in (tmp_path / "out" / "csv" / "patient.csv").read_text()
    assert "born 1950-02-03" in run("show", source, "--mapping", mapping).stdout
    mapping.write_text(rule.replace("birth_date", "birthdate"))
    failed = run("export", source, "--mapping", mapping, "-f", "csv", "-o", tmp_path / "no", code=3)
    assert "Did you mean 'birth_date'" in " ".join(failed.stderr.split())
    assert not (tmp_path / "no").exists()


def test_a_source_that_nobody_described_is_inspected_and_learned_from(tmp_path: Path) -> None:
    source = tmp_path / "clinic"
    source.mkdir()
    born = "".join(f"{n},{1940 + n % 60}-03-0{1 + n % 9},{'MF'[n % 2]}\n" for n in range(60))
    visits = "".join(f"{n},{n % 60},2020-0{1 + n % 9}-1{n % 7} 10:00:00\n" for n in range(240))
    diagnoses = "".join(f"{n % 200},{1 + n // 200},{['I10', 'E11.9', 'J45.909'][n % 3]}\n" for n in range(240))
    (source / "patients.csv").write_text(f"patient_id,dob,sex\n{born}")
    (source / "visits.csv").write_text(f"visit_id,patient_id,start\n{visits}")
    (source / "diagnoses.csv").write_text(f"visit_id,seq,icd10\n{diagnoses}")
    mapping = tmp_path / "mapping.toml"
    said = run("inspect", source, "-o", mapping, "--details").stdout
    assert "visits.patient_id" in said
    assert "patients.patient_id" in said
    assert "icd10: icd-10-cm" in said
    assert str(mapping) in said
    report = json.loads(run("inspect", source, "--json").stdout)
    assert {table["name"]: table["key"]["columns"] for table in report["tables"]} == {
        "diagnoses": ["visit_id", "seq"],
        "patients": ["patient_id"],
        "visits": ["visit_id"],
    }
    assert report["mapping"] == mapping.read_text()
    assert "exists" in run("inspect", source, "-o", mapping, code=6).stderr
    read = json.loads(run("export", source, "--mapping", mapping, "-f", "csv", "-o", tmp_path / "out", "--json").stdout)
    assert (read["row_counts"]["encounter"], read["row_counts"]["condition"]) == (240, 240)
    pytest.importorskip("pomegranate")
    run("learn", source, "--mapping", mapping, "-o", tmp_path / "m.ehrsynth", "--states", "2", "--classes", "1")
    assert (tmp_path / "m.ehrsynth").is_file()


def test_a_database_that_refuses_and_one_that_needs_a_mapping(tmp_path: Path) -> None:
    import sqlite3

    refused = run("inspect", "postgresql://boss:s3cret@127.0.0.1:1/records", code=3).stderr
    assert "refuses" in refused
    assert "s3cret" not in refused
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("create table people (id integer primary key, born text)")
    connection.close()
    needed = run("learn", f"sqlite:///{tmp_path}/x.db", "-o", tmp_path / "m.ehrsynth", code=2).stderr
    assert "ehrsynth inspect" in needed
    assert "no such database file" in run("show", f"sqlite:///{tmp_path}/none.db", code=3).stderr
