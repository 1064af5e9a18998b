"""A tiny cohort and the slowest possible reading of the model: every code of every visit, every path of states."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ehrsynth.encoding import FamilyTimeline, Levels, Timelines
from ehrsynth.encoding.union import unite
from ehrsynth.learning.binned import Bins
from ehrsynth.learning.parameters import CodeTables, TrajectoryTables
from ehrsynth.learning.trajectory import Problem
from ehrsynth.model import Coding, Strata
from ehrsynth.probability.histogram import Histogram

__all__ = ["FIRST", "KINDS", "Cohort", "tiny_cohort"]

N_CODES = 5
PARENT = np.array([-1, 0, 0, 1, -1], dtype=np.int32)
FIRST = 3
"""The first codes, whose parents are among them: the conditions, as it were."""
SLOTS = 2
KINDS = ("none", "every", "first", "slots", "none led", "every led", "first led")
"""Visits may be empty; have a code; have one of the first codes; have at most two of the first, given their number.

Led: of the first codes those with a parent are satellites."""
GAPS = Histogram(edges=np.array([0, 10, 100]), coarse=np.array([0, 1]), weight=np.ones(2))
STAYS = Histogram(edges=np.array([0, 60, 5000]), coarse=np.array([0, 1]), weight=np.ones(2))


class Cohort:
    """Timelines with the same facts as plain lists, tables to read them with, and the problem they make.

    Attributes
    ----------
    lives : list of patients, each a list of visits (dict of codes, gap, stay, class, number, stratum).
    """

    def __init__(self, seed: int, *, filled: str, n_patients: int = 12, n_classes: int = 2, n_states: int = 2):
        rng = np.random.default_rng(seed)
        filled, *led = filled.split()
        self.n_led = FIRST if led else 0
        self.slots = SLOTS if filled == "slots" else 0
        self.n_truncated = {"none": 0, "every": N_CODES}.get(filled, FIRST)
        self.parent = PARENT.copy()
        if self.slots:
            self.parent[:FIRST] = -1
        self.strata = Strata(sexes=("female", "male"), age_edges=(0.0, 50.0, float("inf")))
        self.lives, self.cut = [], rng.random(n_patients) < 0.2
        self.sex = rng.integers(2, size=n_patients)
        self.age = rng.uniform(20, 80, n_patients)
        self.weight = rng.uniform(0.5, 1.0, n_patients)
        for _ in range(n_patients):
            length = int(rng.integers(1, 5))
            visits = []
            for t in range(length):
                codes = set(np.flatnonzero(rng.random(N_CODES) < 0.4).tolist())
                if self.n_truncated and not any(c < self.n_truncated for c in codes):
                    codes.add(int(rng.integers(self.n_truncated)))
                if self.slots:
                    codes -= set(sorted(c for c in codes if c < FIRST)[SLOTS:])
                visits.append(
                    {
                        "codes": codes,
                        "gap": int(rng.integers(0, 100)) if t < length - 1 else -1,
                        "stay": int(rng.integers(0, 5000)) if rng.random() < 0.7 else -1,
                        "class": int(rng.integers(2)),
                    }
                )
            self.lives.append(visits)
        self.timelines = self._timelines()
        bins = Bins(
            strata=self.strata,
            visit_edges=np.array([1, 3]),
            gap_days=GAPS,
            stay_minutes=STAYS,
            encounter_classes=("AMB", "IMP"),
            n_truncated=self.n_truncated,
            n_slots=self.slots,
        )
        self.problem = Problem(
            bins=bins,
            layout=bins.layout(N_CODES, self.n_led),
            parent=self.parent,
            transition_stratum=np.array([0, 1, 0, 1]),
            n_classes=n_classes,
            n_states=n_states,
        )
        self.tables = self._tables(rng, n_classes, n_states)

    def _timelines(self) -> Timelines:
        offsets = np.concatenate(([0], np.cumsum([len(life) for life in self.lives])))
        flat = [visit for life in self.lives for visit in life]
        n, v = len(self.lives), len(flat)
        codes = [sorted(visit["codes"]) for visit in flat]
        incidence = np.concatenate(([0], np.cumsum([len(c) for c in codes])))
        values = np.array([c for of_visit in codes for c in of_visit], dtype=np.int32)
        row_visit = np.repeat(np.arange(v), np.diff(incidence)).astype(np.int32)
        nothing = np.full(n, -1, dtype=np.int64)
        family = FamilyTimeline(
            table="condition",
            codings=tuple(Coding(system="s", code=f"C{c}") for c in range(N_CODES)),
            offsets=incidence,
            codes=values,
            counts=np.ones(len(values), dtype=np.int32),
            row_visit=row_visit,
            row_code=values,
            row_index=np.arange(len(values)),
            row_minutes=np.full(len(values), -1),
            row_days=np.full(len(values), -1),
            visit_codes=np.diff(incidence).astype(np.int32),
        )

        def level(labels: tuple[str, ...], index: Any) -> Levels:
            return Levels(labels=labels, index=np.asarray(index, dtype=np.int32))

        timelines = Timelines(
            offsets=offsets,
            weight=self.weight,
            person={"sex": level(("female", "male"), self.sex)},
            age_at_start=self.age,
            cut=self.cut,
            died=np.zeros(n, dtype=bool),
            death_days=nothing,
            tail_days=nothing,
            last_day=nothing,
            row=np.arange(int(offsets[-1])),
            age_years=np.repeat(self.age, np.diff(offsets)).astype(np.float32),
            number=np.concatenate([np.arange(1, len(life) + 1) for life in self.lives]).astype(np.int32),
            gap_days=np.array([visit["gap"] for visit in flat]),
            stay_minutes=np.array([visit["stay"] for visit in flat]),
            start_minute=np.full(v, -1),
            encounter_class=level(("AMB", "IMP"), [visit["class"] for visit in flat]),
            disposition=level(("",), np.zeros(v)),
            admit_source=level(("",), np.zeros(v)),
            encounter_type=level(("0",), np.zeros(v)),
            encounter_types=(Coding(system="", code=""),),
            precision=("day", "day"),
            families={"condition": family},
            basis="calendar",
            birth_date_precision="day",
            left_out={},
        )
        return unite(timelines)

    def _tables(self, rng: np.random.Generator, g: int, k: int) -> TrajectoryTables:
        q = g * k

        def rows(*shape: int) -> np.ndarray:
            return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])

        codes = CodeTables(
            parent=self.parent,
            **{
                name: rng.uniform(0.05, 0.9, (q, N_CODES))
                for name in ("never", "never_with_parent", "previous", "earlier")
            },
        )
        return TrajectoryTables(
            initial=rows(4, q),
            transition=rows(2, g, k, k),
            end_hazard=rng.uniform(0.1, 0.6, (2, q)),
            gap=rows(q, 2),
            encounter_class=rows(q, 2),
            stay=rows(2, q, 2),
            codes=codes,
        )

    def stratum(self, p: int) -> int:
        """The stratum of a patient (ages do not move here)."""
        return int(self.strata.index(np.array([self.sex[p]]), np.array([self.age[p]]))[0])

    def kind(self, p: int, t: int, c: int) -> str:
        """Which table says whether visit t of patient p has code c."""
        life = self.lives[p]
        if self.satellite(c) and self.parent[c] not in life[t]["codes"]:
            return "never"
        if t > 0 and c in life[t - 1]["codes"]:
            return "previous"
        if any(c in visit["codes"] for visit in life[:t]):
            return "earlier"
        return "never_with_parent" if self.parent[c] >= 0 and self.parent[c] in life[t]["codes"] else "never"

    def satellite(self, c: int) -> bool:
        """Whether the code's history counts beside its parent only."""
        return c < self.n_led and bool(self.parent[c] >= 0)

    def kind_alone(self, p: int, t: int, c: int) -> str:
        """Which table says whether visit t has code c if nothing else is in it."""
        kind = self.kind(p, t, c)
        return "never" if kind == "never_with_parent" or self.satellite(c) else kind

    def alone(self, p: int, t: int, q: int, c: int) -> float:
        """P(code | state, history) in a visit in which nothing else is."""
        return float(getattr(self.tables.codes, self.kind_alone(p, t, c))[q, c])

    def log_codes(self, p: int, t: int, q: int) -> float:
        """log P(codes of the visit | state, history), given what every visit has."""
        total, none = 0.0, 0.0
        codes = self.lives[p][t]["codes"]
        for c in range(N_CODES):
            probability = getattr(self.tables.codes, self.kind(p, t, c))[q, c]
            if not (self.slots and c < FIRST):
                total += np.log(probability if c in codes else 1 - probability)
            if c < self.n_truncated:
                none += np.log(1 - self.alone(p, t, q, c))
        if self.slots:
            chosen = tuple(sorted(c for c in codes if c < FIRST))
            return float(total + np.log(self.slot_shares(p, t, q)[chosen]))
        return total - (np.log1p(-np.exp(none)) if self.n_truncated else 0.0)

    def slot_shares(self, p: int, t: int, q: int) -> dict[tuple[int, ...], float]:
        """P(set of the first codes | its size), by listing all sets of the size that the visit has."""
        size = sum(c < FIRST for c in self.lives[p][t]["codes"])
        odds = [self.alone(p, t, q, c) / (1 - self.alone(p, t, q, c)) for c in range(FIRST)]
        weights = {
            chosen: float(np.prod([odds[c] for c in chosen])) for chosen in itertools.combinations(range(FIRST), size)
        }
        return {chosen: weight / sum(weights.values()) for chosen, weight in weights.items()}

    def unseen(self, p: int, t: int, q: int, c: int) -> float:
        """Trials of a code that a recorded visit stands for besides itself."""
        if c >= self.n_truncated:
            return 0.0
        none = np.prod([1 - self.alone(p, t, q, one) for one in range(self.n_truncated)])
        return float(none / (1 - none))

    def log_visit(self, p: int, t: int, q: int) -> float:
        """log P(everything the visit says | state)."""
        visit, tables = self.lives[p][t], self.tables
        total = self.log_codes(p, t, q) + np.log(tables.encounter_class[q, visit["class"]])
        if visit["gap"] >= 0:
            total += np.log(tables.gap[q, int(visit["gap"] >= 10)])
        if visit["stay"] >= 0:
            total += np.log(tables.stay[visit["class"], q, int(visit["stay"] >= 60)])
        hazard = tables.end_hazard[int(t + 1 >= 3), q]
        last = t == len(self.lives[p]) - 1
        if not last:
            total += np.log(1 - hazard)
        elif not self.cut[p]:
            total += np.log(hazard)
        return float(total)

    def paths(self, p: int) -> tuple[list[tuple[int, ...]], np.ndarray]:
        """All paths of states of a patient and the probability of each together with the record."""
        k, n = self.problem.n_states, self.problem.n_classes * self.problem.n_states
        r = self.stratum(p)
        matrix = int(self.problem.transition_stratum[r])
        found, weights = [], []
        for path in itertools.product(range(n), repeat=len(self.lives[p])):
            value = np.log(self.tables.initial[r, path[0]])
            value += sum(self.log_visit(p, t, q) for t, q in enumerate(path))
            possible = 1.0
            for a, b in itertools.pairwise(path):
                possible *= self.tables.transition[matrix, a // k, a % k, b % k] if a // k == b // k else 0.0
            if possible > 0:
                found.append(path)
                weights.append(float(np.exp(value) * possible))
        return found, np.array(weights)


def tiny_cohort(seed: int, *, filled: str) -> Cohort:
    """Return a cohort of twelve patients with up to four visits, five codes in a tree, two classes of two states."""
    return Cohort(seed, filled=filled)
