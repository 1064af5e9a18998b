"""The M-step: tables from expected counts, each shrunk toward its margin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.layout import RowLayout
from ehrsynth.learning.parameters import CodeTables, TrajectoryTables
from ehrsynth.learning.statistics import TrajectoryStatistics
from ehrsynth.learning.strength import beta_strength, dirichlet_strength

__all__ = ["CodeCounts", "Strengths", "choose_strengths", "code_counts", "code_tables", "log_prior", "maximise"]

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_END_STRENGTH = 20.0


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """Weights of the priors, in visits (of `initial`: patients), and the prior mean of the first state [R, Q].

    The mean of the first state leans on sex and age; it is fixed with the weights, so that EM ascends one function.
    """

    never: float = 16.0
    never_with_parent: float = 16.0
    previous: float = 16.0
    earlier: float = 16.0
    initial: float = 16.0
    transition: float = 1.0
    transition_stratum: float = 50.0
    transition_band: float = 50.0
    gap: float = 16.0
    encounter_class: float = 4.0
    stay: float = 16.0
    end: float = 16.0
    initial_mean: Doubles | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class CodeCounts:
    """Presences and trials float64[Q, C] of each kind of history."""

    never: tuple[Doubles, Doubles]
    never_with_parent: tuple[Doubles, Doubles]
    previous: tuple[Doubles, Doubles]
    earlier: tuple[Doubles, Doubles]

    def items(self) -> dict[str, tuple[Doubles, Doubles]]:
        """Return the four by name."""
        return {name: getattr(self, name) for name in ("never", "never_with_parent", "previous", "earlier")}


def code_counts(
    rows: Doubles,
    visits: Doubles,
    layout: RowLayout,
    parent: npt.NDArray[np.int32],
    unseen: Doubles | None = None,
    ratio: Doubles | None = None,
) -> CodeCounts:
    """Return presences and trials of each code from the counts of rows of evidence (see `TrajectoryStatistics`)."""
    c = layout.n_codes

    def block(start: int) -> Doubles:
        return rows[start : start + c].T

    trials_previous, trials_earlier = block(layout.previous_absent), block(layout.earlier_absent)
    with_parent = np.zeros_like(trials_previous)
    child = np.flatnonzero(parent >= 0)
    with_parent[:, child] = rows[layout.parent + parent[child]].T - block(layout.child_has_history)[:, child]
    never = visits[:, None] - trials_previous - trials_earlier - with_parent
    if unseen is not None:
        trials_previous, trials_earlier, never = (
            trials + more.T for trials, more in zip((trials_previous, trials_earlier, never), unseen, strict=True)
        )

    factor = np.ones((len(visits), c))
    if ratio is not None and len(ratio):
        # One factor on all odds of a state changes nothing where visits have slots: it is chosen so that the ratio r_1
        # is 1 on average, which makes trials about visits.
        factor[:, : layout.n_truncated] = (visits / np.maximum(ratio, 1e-12))[:, None]

    def pair(start: int, trials: Doubles) -> tuple[Doubles, Doubles]:
        present = block(start)
        trials = present + (trials - present) * factor
        # Differences of single-precision sums may fall below what they must not.
        return present, np.maximum(trials, present)

    return CodeCounts(
        never=pair(layout.new, never),
        never_with_parent=pair(layout.new_with_parent, with_parent),
        previous=pair(layout.previous, trials_previous),
        earlier=pair(layout.earlier, trials_earlier),
    )


def margins(present: Doubles, trials: Doubles) -> Doubles:
    """Return the pooled probability of each code float64[C], drawn a little to that of all codes; inside (0, 1)."""
    n1, n = present.sum(axis=0), trials.sum(axis=0)
    overall = (float(n1.sum()) + 0.5) / (float(n.sum()) + 1.0)
    result: Doubles = (n1 + overall) / (n + 1.0)
    return np.clip(result, 1e-9, 1 - 1e-6)


def code_tables(counts: CodeCounts, strengths: Strengths, parent: npt.NDArray[np.int32]) -> CodeTables:
    """Return the tables of the codes."""
    tables = {}
    for name, (present, trials) in counts.items().items():
        s = getattr(strengths, name)
        tables[name] = (present + s * margins(present, trials)) / (trials + s)
    return CodeTables(parent=parent, **tables)


def _toward(counts: Doubles, strength: float, prior: Doubles) -> Doubles:
    smoothed = counts + strength * prior
    total = smoothed.sum(axis=-1, keepdims=True)
    result: Doubles = np.where(total > 0, smoothed / np.where(total > 0, total, 1.0), prior)
    return result


def _share(counts: Doubles, pseudo: float = 0.5) -> Doubles:
    """Return the margin of counts[..., B] over all rows, with a little of uniform."""
    pooled = counts.reshape(-1, counts.shape[-1]).sum(axis=0) + pseudo / max(counts.shape[-1], 1)
    result: Doubles = pooled / pooled.sum()
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class _VisitCounts:
    """Counts of what a visit has besides codes, with the prior mean of each."""

    gap: tuple[Doubles, Doubles]
    encounter_class: tuple[Doubles, Doubles]
    stay: tuple[Doubles, Doubles]
    end: tuple[Doubles, Doubles]


def _visit_counts(statistics: TrajectoryStatistics, layout: RowLayout) -> _VisitCounts:
    rows, q = statistics.rows, len(statistics.visits)
    gap = rows[layout.gap :][: layout.n_gaps].T
    encounter_class = rows[layout.encounter_class :][: layout.n_classes].T
    stay = rows[layout.stay :][: layout.n_classes * layout.n_stays]
    stay = stay.reshape(layout.n_classes, layout.n_stays, q).transpose(0, 2, 1)
    end = np.stack([rows[layout.goes_on :][: layout.n_bands], rows[layout.ends :][: layout.n_bands]], axis=-1)
    stay_margin = np.stack([_share(table) for table in stay]) if layout.n_stays else stay[:, 0]
    end_margin = _end_margin(end.sum(axis=1), layout.n_elapsed)
    return _VisitCounts(
        gap=(gap, _share(gap) if layout.n_gaps else gap[0]),
        encounter_class=(encounter_class, _share(encounter_class)),
        stay=(stay, stay_margin[:, None, :]),
        end=(end, end_margin[:, None, :]),
    )


def _end_margin(counts: Doubles, n_elapsed: int) -> Doubles:
    """Return (P(going on), P(end)) of each band float64[V, 2]: drawn to its band of time, and that to all."""
    by = counts.reshape(-1, n_elapsed, 2)
    of_time = _toward(by.sum(axis=0), _END_STRENGTH, _share(counts, 1.0))
    result: Doubles = _toward(by, _END_STRENGTH if n_elapsed > 1 else 1.0, of_time[None]).reshape(-1, 2)
    return result


def _initial_prior(counts: Doubles, n_sexes: int, strength: float) -> Doubles:
    """Return the prior mean float64[R, Q] of the first state: sex and age act apart, each shrunk toward all.

    P(q | sex, age) ~ P(q | sex) P(q | age) / P(q): what two factors that do not interact would give. Strata of few
    people then lean on their age and not on everybody.
    """
    pooled = _share(counts, 1.0)
    by = counts.reshape(n_sexes, -1, counts.shape[-1])
    of_sex, of_age = (_toward(by.sum(axis=axis), strength, pooled) for axis in (1, 0))
    product = of_sex[:, None] * of_age[None] / pooled
    product /= product.sum(axis=-1, keepdims=True)
    result: Doubles = product.reshape(counts.shape)
    return result


def _initial_mean(statistics: TrajectoryStatistics, layout: RowLayout, strengths: Strengths) -> Doubles:
    if strengths.initial_mean is not None:
        return strengths.initial_mean
    return _initial_prior(statistics.initial, layout.n_sexes, strengths.initial)


def _transition_means(counts: Doubles, strengths: Strengths, groups: Ints | None) -> Doubles:
    """Return what the transitions of each matrix are, or are drawn to: those of its group, drawn to those of all.

    Parameters
    ----------
    counts : float64[D, G, K, K]
    strengths : Strengths
    groups : int64[D] or None
        Of the matrices; None: each is one of its own.

    Returns
    -------
    float64[D, G, K, K]
    """
    pooled = counts.sum(axis=0)
    k = pooled.shape[-1]
    pooled = _toward(pooled, strengths.transition, np.full(pooled.shape, 1.0 / k))
    if len(counts) == 1:
        return pooled[None]
    groups = np.arange(len(counts)) if groups is None else groups
    of_group = np.zeros((int(groups.max()) + 1, *pooled.shape))
    np.add.at(of_group, groups, counts)
    return _toward(of_group, strengths.transition_stratum, pooled[None])[groups]


def maximise(
    statistics: TrajectoryStatistics,
    layout: RowLayout,
    parent: npt.NDArray[np.int32],
    strengths: Strengths,
    groups: Ints | None = None,
) -> TrajectoryTables:
    """Return the tables that maximise the expected log-likelihood plus the log-prior of `strengths`.

    Prior means are the margins of the counts over the states, which (but for zero truncation) do not change from one
    iteration to the next; so each iteration ascends one and the same function. The exception are transitions by
    stratum, which are shrunk toward those of their group (`groups` int64[D]: sex and usual band of age), and these
    toward all.
    """
    counts = code_counts(statistics.rows, statistics.visits, layout, parent, statistics.unseen, statistics.ratio)
    visit = _visit_counts(statistics, layout)
    transition = _transition_means(statistics.transition, strengths, groups)
    if groups is not None:
        transition = _toward(statistics.transition, strengths.transition_band, transition)
    return TrajectoryTables(
        initial=_toward(
            statistics.initial,
            strengths.initial,
            _initial_mean(statistics, layout, strengths),
        ),
        transition=transition,
        end_hazard=_toward(visit.end[0], strengths.end, visit.end[1])[..., 1],
        gap=_toward(visit.gap[0], strengths.gap, visit.gap[1]),
        encounter_class=_toward(visit.encounter_class[0], strengths.encounter_class, visit.encounter_class[1]),
        stay=_toward(visit.stay[0], strengths.stay, visit.stay[1]),
        codes=code_tables(counts, strengths, parent),
    )


def log_prior(tables: TrajectoryTables, statistics: TrajectoryStatistics, layout: RowLayout, s: Strengths) -> float:
    """Return the logarithm of the prior density of `tables`, up to a constant that does not depend on them."""
    counts = code_counts(
        statistics.rows, statistics.visits, layout, tables.codes.parent, statistics.unseen, statistics.ratio
    )
    total = 0.0
    for name, (present, trials) in counts.items().items():
        table, margin = getattr(tables.codes, name), margins(present, trials)
        table = np.clip(table, 1e-12, 1 - 1e-12)
        total += getattr(s, name) * float((margin * np.log(table) + (1 - margin) * np.log1p(-table)).sum())
    visit = _visit_counts(statistics, layout)
    for strength, table, (_, margin) in (
        (s.gap, tables.gap, visit.gap),
        (s.encounter_class, tables.encounter_class, visit.encounter_class),
        (s.stay, tables.stay, visit.stay),
        (s.end, np.stack([1 - tables.end_hazard, tables.end_hazard], axis=-1), visit.end),
        (s.initial, tables.initial, (None, _initial_mean(statistics, layout, s))),
        (
            s.transition,
            tables.transition,
            (None, np.full(tables.transition.shape[-1], 1 / tables.transition.shape[-1])),
        ),
    ):
        if table.size:
            total += strength * float((margin * np.log(np.maximum(table, 1e-300))).sum())
    return total


def choose_strengths(
    statistics: TrajectoryStatistics,
    layout: RowLayout,
    parent: npt.NDArray[np.int32],
    strengths: Strengths,
    groups: Ints | None = None,
) -> Strengths:
    """Return strengths under which the counts are likeliest (empirical Bayes), where there are enough to tell."""
    counts = code_counts(statistics.rows, statistics.visits, layout, parent, statistics.unseen, statistics.ratio)
    found = {
        name: beta_strength(present, trials, margins(present, trials), getattr(strengths, name))
        for name, (present, trials) in counts.items().items()
    }
    visit = _visit_counts(statistics, layout)
    for name in ("gap", "stay", "end", "encounter_class"):
        table, margin = getattr(visit, name)
        if table.size:
            flat = np.broadcast_to(margin, table.shape).reshape(-1, table.shape[-1])
            found[name] = dirichlet_strength(table.reshape(-1, table.shape[-1]), flat, getattr(strengths, name))
    mean = _initial_prior(statistics.initial, layout.n_sexes, strengths.initial)
    found["initial"] = dirichlet_strength(statistics.initial, mean, strengths.initial)
    if groups is not None:
        k = statistics.transition.shape[-1]
        mean = _transition_means(statistics.transition, strengths, groups)
        found["transition_band"] = dirichlet_strength(
            statistics.transition.reshape(-1, k), mean.reshape(-1, k), strengths.transition_band
        )
    return replace(
        strengths, **found, initial_mean=_initial_prior(statistics.initial, layout.n_sexes, found["initial"])
    )
