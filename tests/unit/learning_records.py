"""Small cohorts on demand, good and bad."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pyarrow as pa

from ehrsynth.encoding import Timelines
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records

__all__ = ["Halves", "cohort", "differences"]


@dataclasses.dataclass(frozen=True)
class Halves:
    """A cohort of which only sums over two parts can be had."""

    vocabulary: Timelines

    def total(self, function: Any) -> Any:
        cut, n = self.vocabulary.n_patients // 3, self.vocabulary.n_patients
        return reduce(add, [function(self.vocabulary.slice_patients(*part)) for part in ((0, cut), (cut, n))])


def cohort(
    n: int = 50,
    *,
    visits: int | Callable[[int], int] = 3,
    codes: int = 20,
    per_visit: int = 2,
    sex: str | None = None,
    birth: date | None = None,
    same_day: bool = False,
    system: str = "http://unknown.example.org/codes",
    basis: str = "calendar",
    **columns: Any,
) -> Records:
    """Return n patients with visits and conditions drawn evenly from `codes` codes; `columns` go to the patients."""
    rng = np.random.default_rng(0)
    encounters: list[dict[str, Any]] = []
    conditions: list[dict[str, Any]] = []
    for i in range(n):
        when = datetime(2015, 1, 1, 9)
        count = visits if isinstance(visits, int) else visits(i)
        for v in range(count):
            if not same_day:
                when += timedelta(days=int(rng.integers(1, 60 if count < 50 else 4)))
            dated = basis != "order"
            encounters.append(
                {
                    "encounter_id": f"{i}-{v}",
                    "patient_id": f"p{i}",
                    "sequence": v + 1,
                    "start_datetime": when if dated else None,
                    "end_datetime": when + timedelta(hours=1) if dated else None,
                    "status": "finished",
                    "encounter_class": "AMB",
                }
            )
            for code in sorted(set(rng.integers(0, codes, per_visit).tolist())):
                conditions.append(
                    {
                        "condition_id": str(len(conditions)),
                        "patient_id": f"p{i}",
                        "encounter_id": f"{i}-{v}",
                        "category": "encounter-diagnosis",
                        "code_system": system,
                        "code": f"C{code}",
                    }
                )
    patient = {
        "patient_id": [f"p{i}" for i in range(n)],
        "birth_date": [birth or date(1940 + i % 40, 3, 1) for i in range(n)],
        "sex": [sex or ("male", "female")[i % 2] for i in range(n)],
        **columns,
    }
    tables = {"patient": pa.table(patient)}
    for name, rows in (("encounter", encounters), ("condition", conditions)):
        if rows:
            tables[name] = pa.Table.from_pylist(rows)
    return Records.from_tables(tables, provenance=Provenance(source="a test", time_basis=basis))


def differences(left: Any, right: Any, path: str = "") -> dict[str, float]:
    """The greatest difference of numbers by place, relative to 1 or the number; infinite where things differ."""
    if isinstance(left, np.ndarray):
        if left.shape != right.shape or left.dtype != right.dtype:
            return {path: np.inf}
        if left.dtype.kind not in "fiub":
            return {} if np.array_equal(left, right) else {path: np.inf}
        both = [np.nan_to_num(one.astype(np.float64), posinf=1e9) for one in (left, right)]
        worst = float((np.abs(both[0] - both[1]) / np.maximum(np.abs(both[0]), 1.0)).max(initial=0.0))
        return {path: worst} if worst else {}
    if dataclasses.is_dataclass(left):
        names = [one.name for one in dataclasses.fields(left) if one.name not in ("row", "row_index", "provenance")]
        pairs = [(name, getattr(left, name), getattr(right, name)) for name in names]
    elif isinstance(left, dict | list | tuple):
        if len(left) != len(right) or (isinstance(left, dict) and list(left) != list(right)):
            return {path: np.inf}
        keys = list(left) if isinstance(left, dict) else range(len(left))
        pairs = [(str(key), left[key], right[key]) for key in keys]
    elif isinstance(left, float) and np.isfinite(left):
        worst = abs(left - right) / max(abs(left), 1.0)
        return {path: worst} if worst else {}
    else:
        return {} if left == right else {path: np.inf}
    return reduce(lambda total, pair: total | differences(pair[1], pair[2], f"{path}.{pair[0]}"), pairs, {})
