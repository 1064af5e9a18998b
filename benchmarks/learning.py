"""Learning: CPU seconds against patients and against codes, whole processes from CSV to model."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.measure import EHRSYNTH, median, run
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records, dictionary_column

__all__ = ["cohort", "learning"]

_VISITS = 12
_CODES_A_VISIT = 3


def learning(repeats: int, folder: Path, *, quick: bool = False) -> list[dict[str, Any]]:
    """Return the cost of learning, of cohorts that differ in patients or in codes; their sizes are given."""
    import ehrsynth

    sizes = [(500, 100), (2_000, 100), (500, 400)] if quick else [(1_000, 200), (10_000, 200), (1_000, 2_000)]
    found = []
    for patients, codes in sizes:
        source, model = folder / "cohort", folder / "learned.ehrsynth"
        shutil.rmtree(source, ignore_errors=True)
        ehrsynth.export(cohort(patients, codes), source, formats=["csv"])
        costs = []
        for _ in range(repeats):
            model.unlink(missing_ok=True)
            words = [
                "learn",
                str(source / "csv"),
                "-o",
                str(model),
                "--states",
                "6",
                "--classes",
                "2",
                "--format",
                "tables",
            ]
            costs.append(run([EHRSYNTH, *words]))
        cost = median(costs)
        visits = patients * _VISITS
        found.append(
            {
                "patients": patients,
                "visits": visits,
                "codes": codes,
                "cpu_seconds": cost.cpu,
                "wall_seconds": cost.wall,
                "peak_mb": cost.peak_mb,
            }
        )
    return found


def cohort(patients: int, codes: int, seed: int = 1) -> Records:
    """Return patients with visits and conditions whose codes are of one of four kinds of patient."""
    rng = np.random.default_rng(seed)
    n = patients * _VISITS
    who = np.repeat(np.arange(patients), _VISITS)
    kind = rng.integers(4, size=patients)[who]
    born = np.datetime64("1950-01-01") + rng.integers(15_000, size=patients)
    gap = rng.integers(5, 200, size=(patients, _VISITS)).cumsum(axis=1).reshape(-1)
    start = (np.datetime64("2010-01-01") + gap).astype("datetime64[s]")
    ids, encounters = [f"p{i}" for i in range(patients)], [f"e{i}" for i in range(n)]
    # Zipf's law over a quarter of the codes for each kind.
    rank = np.minimum(rng.zipf(1.5, size=(n, _CODES_A_VISIT)), codes // 4) - 1
    code = (rank + (kind * (codes // 4))[:, None]).reshape(-1)
    visit = np.repeat(np.arange(n), _CODES_A_VISIT)
    _, first = np.unique(visit * codes + code, return_index=True)
    visit, code = visit[first], code[first]
    tables = {
        "patient": pa.table(
            {
                "patient_id": ids,
                "sex": dictionary_column(rng.integers(2, size=patients), ["female", "male"]),
                "birth_date": pa.array(born.astype("datetime64[D]").astype(date)),
            }
        ),
        "encounter": pa.table(
            {
                "encounter_id": encounters,
                "patient_id": pa.array(ids).take(pa.array(who)),
                "sequence": np.tile(np.arange(1, _VISITS + 1), patients),
                "status": dictionary_column(np.zeros(n, dtype=np.int32), ["finished"]),
                "encounter_class": dictionary_column(np.zeros(n, dtype=np.int32), ["AMB"]),
                "start_datetime": pa.array(start),
                "end_datetime": pa.array(start),
            }
        ),
        "condition": pa.table(
            {
                "condition_id": [f"c{i}" for i in range(len(visit))],
                "patient_id": pa.array(ids).take(pa.array(who[visit])),
                "encounter_id": pa.array(encounters).take(pa.array(visit)),
                "category": dictionary_column(np.zeros(len(visit), dtype=np.int32), ["encounter-diagnosis"]),
                "code_system": dictionary_column(np.zeros(len(visit), dtype=np.int32), ["http://codes.example.org"]),
                "code": dictionary_column(code, [f"K{i}" for i in range(codes)]),
                "recorded_date": pa.array(start[visit].astype("datetime64[D]")),
            }
        ),
    }
    origin = Provenance(
        source="made up for the benchmarks", source_format="none", licence="", synthetic=True, time_basis="calendar"
    )
    return Records.from_tables(tables, provenance=origin)
