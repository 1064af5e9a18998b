"""Fidelity of what is missing: how often each column is empty, and how many rows each table has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow.compute as pc

from ehrsynth.evaluation.cohort import Cohort
from ehrsynth.evaluation.distance import relative_error
from ehrsynth.evaluation.metric import Comparison, Keys, MetricResult, Score, Scorer, Totals
from ehrsynth.evaluation.tally import Tally, tally
from ehrsynth.schema import DatasetSchema

__all__ = ["CompletenessMetric", "clinical_columns"]

_IDENTITY = frozenset(
    {
        *("name_prefix", "given_name", "middle_name", "family_name", "maiden_name", "phone", "email"),
        *("address_line", "city", "state", "postal_code", "country"),
        *("medical_record_number", "social_security_number", "member_id"),
        *("lot_number", "serial_number", "unique_device_id"),
    }
)


def clinical_columns(schema: DatasetSchema) -> list[tuple[str, str]]:
    """Return (table, column) of the optional columns that carry clinical content.

    Left out are keys and references, displays, precisions, and what identifies a person or a thing: a generator fills
    these by design.
    """
    found = []
    for table in schema.tables:
        if not table.has_patient:
            continue
        keys = {table.primary_key, *(key.column for key in table.foreign_keys)}
        for column in table.columns:
            plain = not column.name.endswith(("_id", "display", "_precision", "precision"))
            if not column.required and plain and column.name not in keys and column.name not in _IDENTITY:
                found.append((table.name, column.name))
    return found


class CompletenessMetric:
    """Share of empty values per column, and rows per patient per table, against the reference.

    ``empty`` compares the columns that the reference fills at all, in tables that both cohorts have; ``invented``
    counts the columns that the reference never fills and the other cohort does (it may have to: US Core asks for some).
    """

    name = "completeness"
    order = 60
    in_parts = True

    def evaluate(self, comparison: Comparison) -> Iterable[MetricResult]:
        """Return the mean and greatest difference of the shares of empty values, and the rows per patient."""
        schema = next(iter(comparison.reference.parts)).records.schema
        columns = clinical_columns(schema)
        parts = (part for cohort in comparison.cohorts for part in cohort.parts)
        there = {name for part in parts for name, owner in part.rows.items() if len(owner)}
        tables = [name for name in schema.names if name in there and schema[name].has_patient and name != "patient"]

        def count(cohort: Cohort) -> Mapping[str, Tally]:
            return _count(cohort, columns, tables)

        return comparison.score(count, lambda keys, reference: _scorer(columns, tables, keys))


def _count(cohort: Cohort, columns: list[tuple[str, str]], tables: list[str]) -> Mapping[str, Tally]:
    patients, keys = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for number, (table, column) in enumerate(columns):
        owner = cohort.rows[table]
        if not len(owner):
            continue
        empty = pc.is_null(cohort.records[table][column]).to_numpy(zero_copy_only=False)
        mine = owner >= 0
        patients.append(owner[mine])
        keys.append(number * 2 + empty[mine].astype(np.int64))
    everyone = np.arange(cohort.n_patients)
    owners = [cohort.rows[name][cohort.rows[name] >= 0] for name in tables]
    numbers = [np.full(len(owner), k + 1) for k, owner in enumerate(owners)]
    return {
        "cells": tally(cohort, np.concatenate(patients), np.concatenate(keys)),
        "rows": tally(
            cohort,
            np.concatenate([everyone, *owners]),
            np.concatenate([np.zeros(len(everyone), dtype=np.int64), *numbers]),
        ),
    }


def _scorer(columns: list[tuple[str, str]], tables: list[str], keys: Keys) -> Scorer:
    def empty_share(totals: Totals) -> np.ndarray:
        counts = np.zeros(2 * len(columns))
        counts[keys["cells"]] = totals["cells"]
        full, empty = counts[::2], counts[1::2]
        whole = full + empty
        return np.where(whole > 0, empty / np.where(whole > 0, whole, 1.0), np.nan)

    def differences(a: Totals, b: Totals) -> np.ndarray:
        first, second = empty_share(a), empty_share(b)
        return np.where(first < 1, np.abs(first - second), np.nan)

    def invented(a: Totals, b: Totals) -> list[str]:
        first, second = empty_share(a), empty_share(b)
        return [".".join(columns[k]) for k in np.flatnonzero((first == 1) & (second < 1)).tolist()]

    def rows(totals: Totals) -> np.ndarray:
        counts = np.zeros(len(tables) + 1)
        counts[keys["rows"]] = totals["rows"]
        return counts[1:] / counts[0] if counts[0] > 0 else np.full(len(tables), np.nan)

    def compare(a: Totals, b: Totals) -> dict[str, float]:
        gaps = differences(a, b)
        known = gaps[~np.isnan(gaps)]
        per_a, per_b = rows(a), rows(b)
        return {
            "completeness.empty.mean_error": float(known.mean()) if len(known) else np.nan,
            "completeness.empty.max_error": float(known.max()) if len(known) else np.nan,
            "completeness.invented.columns": float(len(invented(a, b))),
            **{
                f"completeness.{name}.rows_error": relative_error(float(per_a[k]), float(per_b[k]))
                for k, name in enumerate(tables)
            },
        }

    def explain(a: Totals, b: Totals) -> dict[str, str]:
        gaps = differences(a, b)
        per_a, per_b = rows(a), rows(b)
        notes = {
            f"completeness.{name}.rows_error": f"{per_b[k]:.3f} against {per_a[k]:.3f}" for k, name in enumerate(tables)
        }
        notes["completeness.invented.columns"] = ", ".join(invented(a, b))
        if (~np.isnan(gaps)).any():
            worst = int(np.nanargmax(gaps))
            first, second = empty_share(a)[worst], empty_share(b)[worst]
            notes["completeness.empty.mean_error"] = f"{int((~np.isnan(gaps)).sum())} columns"
            notes["completeness.empty.max_error"] = (
                f"{'.'.join(columns[worst])}: {second:.3f} against {first:.3f} empty"
            )
        return notes

    scores = {
        "completeness.empty.mean_error": Score(title="empty values by column, mean error", reason="no optional column"),
        "completeness.empty.max_error": Score(
            title="empty values by column, greatest error", reason="no optional column"
        ),
    }
    scores["completeness.invented.columns"] = Score(title="columns that are empty in reality", high=float("inf"))
    scores |= {
        f"completeness.{name}.rows_error": Score(
            title=f"rows of {name} per patient, relative error",
            high=float("inf"),
            detail=True,
            reason="the reference has none",
        )
        for name in tables
    }
    return Scorer(scores=scores, compare=compare, explain=explain)
