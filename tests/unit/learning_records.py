"""Small cohorts on demand, good and bad."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from ehrsynth.provenance import Provenance
from ehrsynth.records import Records

__all__ = ["cohort"]


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
