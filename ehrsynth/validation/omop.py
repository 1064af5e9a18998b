"""Validation of OMOP: the checks of the OHDSI Data Quality Dashboard on CSV, Parquet or DuckDB, ours or anyone's."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from ehrsynth.schema import omop, omop_rows
from ehrsynth.validation.findings import Findings
from ehrsynth.validation.issue import SEVERITIES, Issue, ValidationReport
from ehrsynth.validation.omop_checks import Outcome, run
from ehrsynth.validation.omop_source import Loaded, load_omop

__all__ = ["outcomes", "validate_omop"]

_MEMORY = "2GB"


def validate_omop(
    source: Path,
    *,
    format: str,  # noqa: A002 - the word users know
    progress: Callable[[int, int], None] | None = None,
    today: date | None = None,
) -> ValidationReport:
    """Make every check of the published list that applies; what failed is an issue by the dashboard's name.

    Parameters
    ----------
    source : Path
        A folder of tables (CSV, also gzipped, or Parquet, in any case of letters), or a DuckDB file.
    today : date, optional
        Of what lies in the future; default: the clock, as the dashboard has it.

    Returns
    -------
    ValidationReport
        `counts` is rows by table, `checked` how many checks of each name applied. An issue is an error where the
        dashboard calls it fatal or plausibility fails, else a warning; a table that is not there is an error only if
        the model demands it.
    """
    findings = Findings()
    loaded, found = outcomes(source, findings, today=today or date.today(), progress=progress)
    applied = Counter(one.rule.check for one in found if one.applies)
    issues = [_issue(one, loaded) for one in found if one.failed]
    if "concept" not in loaded.rows:
        issues.append(
            Issue(
                severity="information",
                category="conformance",
                check="no-vocabulary",
                message="There is no table of concepts: what leads to concepts was not checked.",
                place="concept",
                count=1,
                example="concept.csv",
            )
        )
    issues += findings.issues()
    return ValidationReport(
        source=str(source),
        format=format,
        counts={name: loaded.rows[name] for name in omop().names if loaded.rows.get(name)},
        checked=dict(sorted(applied.items())),
        issues=sorted(issues, key=lambda one: (SEVERITIES.index(one.severity), -one.count, one.check, one.place)),
    )


def outcomes(
    source: Path, findings: Findings, *, today: date, progress: Callable[[int, int], None] | None = None
) -> tuple[Loaded, list[Outcome]]:
    """Return what was loaded from `source`, and the outcome of every check, in the order of the list."""
    import duckdb

    # On the disk: more rows than fit into memory are checked as well.
    with tempfile.TemporaryDirectory(prefix="ehrsynth-omop-") as folder:
        connection: Any = duckdb.connect(str(Path(folder) / "checks.duckdb"))
        try:
            connection.execute(f"SET memory_limit = '{_MEMORY}'")
            connection.execute("SET preserve_insertion_order = false")
            loaded = load_omop(connection, source, findings, progress)
            found = list(run(connection, loaded, today=today))
        finally:
            connection.close()
    return loaded, found


@lru_cache(maxsize=1)
def _kinds() -> dict[str, dict[str, str]]:
    return {row["check"]: row for row in omop_rows("kinds")}


def _issue(one: Outcome, loaded: Loaded) -> Issue:
    rule, kind = one.rule, _kinds()[one.rule.check]
    category = kind["category"].lower()
    severity = "error" if kind["severity"] == "fatal" or category == "plausibility" else "warning"
    if rule.check == "cdmTable" and rule.value != "required":
        severity = "warning"
    share = 100.0 * one.violated / one.total
    place = ".".join(part for part in (rule.table, rule.field) if part)
    about = f" (concept {', '.join(map(str, rule.concepts))})" if rule.concepts else ""
    return Issue(
        severity=severity,
        category=category,
        check=rule.check,
        message=f"{one.violated:,} of {one.total:,} ({share:.2f} %) violate it{about}; {rule.threshold:g} % may.",
        place=place,
        count=one.violated,
        example=_example(one, loaded),
    )


def _example(one: Outcome, loaded: Loaded) -> str:
    rule = one.rule
    if rule.check == "cdmDatatype":
        return f"{rule.field} = {loaded.not_integers[rule.table, rule.field][1]!r}"
    moving = {"DATEADD": "tomorrow", "YEAR(GE": "next year"}.get(rule.value[:7].upper())
    if moving:
        return f"{rule.field} after {moving}"
    return f"held against {rule.value}" if rule.value and rule.value != "required" else rule.table
