"""Fidelity of who the patients are: variables of the person, alone and in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np

from ehrsynth.evaluation.assembly import age_band
from ehrsynth.evaluation.cohort import Cohort, Floats, Ints
from ehrsynth.evaluation.distance import cramers_v, ks, tvd_by_segment, v_table
from ehrsynth.evaluation.metric import Comparison, Keys, MetricResult, Score, Scorer, Totals
from ehrsynth.evaluation.tally import Tally, tally

__all__ = ["PersonMetric"]

_LEVELS = 1 << 16
_MONTHS = 12.0


def _variables(cohort: Cohort, recorded: tuple[str, ...]) -> dict[str, Ints]:
    band = age_band(cohort.age_at_start)
    return {**{name: cohort.person[name] for name in recorded}, "age_band": np.where(band < 0, _LEVELS - 1, band)}


class PersonMetric:
    """Total variation distances of the person's variables and of their pairs, and what their associations lose.

    The variables: sex, race, ethnicity, marital status, language, state, type of payer, alive or deceased, and the band
    of age at the first encounter; "not recorded" is a level. Left out are variables of one level in all cohorts, and
    those that the reference never records (a generator may make up an address, and has nothing to go by).
    """

    name = "person"
    order = 10
    in_parts = True

    def evaluate(self, comparison: Comparison) -> Iterable[MetricResult]:
        """Return the one-way and two-way distances, the differences of Cramer's V and the distance of ages."""
        recorded = comparison.reference.recorded
        levels: dict[str, set[int]] = {}
        for cohort in comparison.cohorts:
            for part in cohort.parts:
                for name, level in _variables(part, recorded).items():
                    levels.setdefault(name, set()).update(np.unique(level).tolist())
        names = [name for name, found in levels.items() if len(found) > 1]
        couples = list(combinations(range(len(names)), 2))

        def count(cohort: Cohort) -> Mapping[str, Tally]:
            everyone = np.arange(cohort.n_patients)
            levels = _variables(cohort, recorded)
            columns = [levels[name] for name in names]
            one = [k * _LEVELS + column for k, column in enumerate(columns)]
            two = [(k * _LEVELS + columns[i]) * _LEVELS + columns[j] for k, (i, j) in enumerate(couples)]
            aged = np.flatnonzero(~np.isnan(cohort.age_at_start))
            months = np.floor(np.maximum(cohort.age_at_start[aged], 0) * _MONTHS).astype(np.int64)
            return {
                "one": tally(cohort, np.tile(everyone, len(one)), _joined(one)),
                "two": tally(cohort, np.tile(everyone, len(two)), _joined(two)),
                "age": tally(cohort, aged, months),
            }

        return comparison.score(count, lambda keys, _: _scorer(names, couples, keys))


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _scorer(names: list[str], couples: list[tuple[int, int]], keys: Keys) -> Scorer:
    of_one = keys["one"] // _LEVELS
    table = keys["two"] // _LEVELS**2
    cells = v_table(table, keys["two"] // _LEVELS % _LEVELS, keys["two"] % _LEVELS)
    n, n_pairs = len(names), len(couples)
    no_age = np.zeros(len(keys["age"]), dtype=np.int64)

    def parts(a: Totals, b: Totals) -> tuple[Floats, Floats, Floats]:
        one = tvd_by_segment(a["one"], b["one"], of_one, n)
        two = tvd_by_segment(a["two"], b["two"], table, n_pairs)
        v = np.abs(cramers_v(a["two"], cells, n_pairs) - cramers_v(b["two"], cells, n_pairs))
        return one, two, v

    def compare(a: Totals, b: Totals) -> dict[str, float]:
        one, two, v = parts(a, b)
        return {
            "person.one_way.tvd": _mean(one),
            **{f"person.{name}.tvd": float(one[k]) for k, name in enumerate(names)},
            "person.two_way.tvd": _mean(two),
            "person.cramers_v.difference": _mean(v),
            "person.age.ks": float(ks(a["age"], b["age"], no_age, 1)[0]),
        }

    def explain(a: Totals, b: Totals) -> dict[str, str]:
        _, two, v = parts(a, b)
        notes = {"person.one_way.tvd": f"mean of {n} variables"}
        for name, values in (("person.two_way.tvd", two), ("person.cramers_v.difference", v)):
            if n_pairs and not np.isnan(values).all():
                i, j = couples[int(np.nanargmax(values))]
                notes[name] = f"mean of {n_pairs} pairs; greatest {np.nanmax(values):.3f} for {names[i]} and {names[j]}"
        return notes

    reason = "no variable of the person has two levels"
    scores = {"person.one_way.tvd": Score(title="variables of the person, TVD", reason=reason)}
    scores |= {f"person.{name}.tvd": Score(title=f"{name}, TVD", detail=True) for name in names}
    scores |= {
        "person.two_way.tvd": Score(title="pairs of variables, TVD", reason="fewer than two variables"),
        "person.cramers_v.difference": Score(title="Cramer's V, difference", reason="fewer than two variables"),
        "person.age.ks": Score(title="age at start, KS", reason="ages are not known"),
    }
    return Scorer(scores=scores, compare=compare, explain=explain)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
