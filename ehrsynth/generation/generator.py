"""The generator: whole blocks of patients of a model, the same whatever is asked for beside them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.errors import ModelError
from ehrsynth.generation.block_maker import BlockMaker
from ehrsynth.generation.codes import Present, VisitContext
from ehrsynth.generation.columns import Columns, id_column, labels, number_column
from ehrsynth.generation.details import BlockContext, ConditionIndex, detail_table
from ehrsynth.generation.encounters import Encounters, EncounterSampler
from ehrsynth.generation.insertion import SeriesInsertion
from ehrsynth.generation.joint import JointSampler
from ehrsynth.generation.measurements import MeasurementSampler
from ehrsynth.generation.population import People, Population
from ehrsynth.generation.rows import FamilySampler, Rows
from ehrsynth.generation.scenario import evidence_of_trajectory
from ehrsynth.generation.tables import coverage_columns, encounter_columns, patient_columns
from ehrsynth.generation.trajectory import TrajectorySampler
from ehrsynth.generation.visits import visit_context
from ehrsynth.model import EVERY_TABLE, PatientModel
from ehrsynth.model.shapes import check_shapes
from ehrsynth.randomness import BLOCK_SIZE, identifier_bytes, stream
from ehrsynth.records import Records

__all__ = ["Generator"]

Int = npt.NDArray[np.int64]


class Generator(BlockMaker):
    """Makes patients of a model, in blocks of `BLOCK_SIZE`.

    Parameters
    ----------
    model : PatientModel
    seed : int
        Same model, seed, reference date and evidence: same patients, byte for byte.
    reference_date : date, optional
        Nothing happens after it; default: the model's, never today.
    evidence : mapping, optional
        What is known of every person, by the words of `ehrsynth.generation.scenario.SCENARIO` or the variables of the
        network; see `ehrsynth.generation.population.Population` for the values.

    Raises
    ------
    ModelError
        The parts of the model do not fit each other.
    UsageError
        The evidence cannot be.

    Examples
    --------
    >>> records = Generator(model, seed=7).block(0, 100)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: PatientModel,
        *,
        seed: int,
        reference_date: date | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        check_shapes(model)
        super().__init__(
            model,
            seed=seed,
            reference_date=reference_date or date.fromisoformat(model.calendar.reference_date),
            time_basis=model.calendar.basis,
        )
        self.model = model
        self._dated = model.calendar.basis != "order"
        self._population = Population(model, evidence_of_trajectory(model, evidence))
        self._trajectory = TrajectorySampler(model.trajectory, model.families)
        self._encounters = EncounterSampler(model, self.reference_date)
        strata = model.trajectory.strata
        strange = [family.table for family in model.families if family.table not in self._schema]
        if strange:
            raise ModelError(f"The model has a family {strange[0]!r}, which is no table.")
        self._families = [FamilySampler(family, strata, model.measurements) for family in model.families]
        self._joint = None
        if any(family.parent_table == EVERY_TABLE for family in model.families):
            self._joint = JointSampler.of(model)
        self._series = None if model.series is None else SeriesInsertion(model)
        # Whatever a detail depends on is drawn before it.
        self._families.sort(key=lambda sampler: sampler.family.table != "condition")
        self._measurements = None if model.measurements is None else MeasurementSampler(model.measurements)

    def block(self, index: int, n: int = BLOCK_SIZE) -> Records:
        """Return the first `n` patients of block `index` and their rows; shared tables are empty.

        The block is always drawn whole, so the first k patients are the same for every n >= k.

        Raises
        ------
        UsageError
            `index` is negative or `n` is not between 1 and `BLOCK_SIZE`.
        """
        self._check(index, n)
        people = self._population.draw(self.seed, index)
        visits = self._trajectory.draw(people, stream(self.seed, "trajectory", index))
        encounters = self._encounters.draw(visits, people.age_days, stream(self.seed, "encounter", index))
        given = visit_context(people, encounters)
        drawn = {} if self._joint is None else self._joint.draw(given, stream(self.seed, "code", index))
        if self._series is not None:
            encounters, drawn = self._series.add(people, encounters, drawn, stream(self.seed, "series", index))
            given = visit_context(people, encounters)
        context = self._context(index, people, encounters)
        tables: dict[str, pa.Table] = {"patient": pa.table(patient_columns(people, context))}
        coverage_ids = identifier_bytes(self.seed, "coverage", index, len(people))
        tables["coverage"], covered = coverage_columns(context, coverage_ids)
        leading, details = self._details(people, context, given, drawn)
        condition = self.model.family("condition")
        codings = condition.codings if condition is not None else ()
        tables["encounter"] = pa.table(
            encounter_columns(context, self.model.trajectory, (coverage_ids, covered), (leading, codings))
        )
        cuts = {"patient": n, "coverage": int((covered[:n] >= 0).sum()), "encounter": int(encounters.visits.offsets[n])}
        for name, (table, visit) in details.items():
            tables[name] = table
            cuts[name] = int(np.searchsorted(visit, encounters.visits.offsets[n]))
        return self._records({name: table.slice(0, cuts[name]) for name, table in tables.items()}, index * BLOCK_SIZE)

    def _context(self, index: int, people: People, encounters: Encounters) -> BlockContext:
        return BlockContext(
            seed=self.seed,
            block=index,
            encounters=encounters,
            dated=self._dated,
            patient_ids=identifier_bytes(self.seed, "patient", index, BLOCK_SIZE),
            encounter_ids=identifier_bytes(self.seed, "encounter", index, len(encounters.visits)),
            shared_ids=self._surroundings.ids,
            surroundings=self._surroundings.of(
                people, encounters, self.model.trajectory.encounter_classes, index, self.reference_date.year
            ),
        )

    def _details(
        self, people: People, context: BlockContext, visits: VisitContext, drawn: dict[str, Present]
    ) -> tuple[Int, dict[str, tuple[pa.Table, Int]]]:
        """Return the leading condition of each visit and every family's table with the visits of its rows."""
        seed, index = self.seed, context.block
        leading = np.full(len(visits), -1, dtype=np.int64)
        tables: dict[str, tuple[pa.Table, Int]] = {}
        conditions: Present | None = None
        found: ConditionIndex | None = None
        for sampler in self._families:
            name = sampler.family.table
            rng = stream(seed, name, index)
            present, rows = sampler.draw(visits, context.encounters, rng, conditions, drawn.get(name))
            measured = None
            if name == "observation" and self._measurements is not None:
                measured = self._measured(self._measurements, people, visits, rows, conditions, index)
            table, ids = detail_table(sampler, rows, context, self._schema[name], found, measured)
            tables[name] = (table, rows.visit)
            if name == "condition":
                conditions = present
                found = ConditionIndex.of(rows, len(sampler.family.codings), ids)
                first = np.flatnonzero(table["rank"].to_numpy() == 1)
                leading[rows.visit[first]] = rows.code[first]
        return leading, tables

    def _measured(
        self,
        sampler: MeasurementSampler,
        people: People,
        visits: VisitContext,
        rows: Rows,
        conditions: Present | None,
        index: int,
    ) -> Columns:
        """Return numbers and panels of the rows of the observation table."""
        model = sampler.model
        number = np.full(len(self.model.family("observation").codings), -1, dtype=np.int64)  # type: ignore[union-attr]
        number[model.code] = np.arange(len(model.code))
        m = number[rows.code]
        # Rows of a visit that are the k-th of their code are one occasion; its measurements go together.
        at = np.flatnonzero(m >= 0)
        span = int(rows.repeat.max(initial=0)) + 1
        key = rows.visit[at] * span + rows.repeat[at]
        order = np.argsort(key, kind="stable")
        at, key = at[order], key[order]
        occasion = np.cumsum(np.diff(key, prepend=key[:1]) != 0)
        patient = visits.patient[rows.visit[at]]
        persons = sampler.persons(len(people), stream(self.seed, "measurement/person", index))
        rng = stream(self.seed, "measurement/visit", index)
        visit = rows.visit[at]
        added = None
        if conditions is not None and len(model.condition):
            added = sampler.of_conditions(len(people), visits.patient[conditions.visit], conditions.code)
        found, recorded = sampler.values(
            persons, patient, occasion, visits.state[visit], m[at], rng, visits.stratum[visit], added
        )
        value, known = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool)
        value[at], known[at] = found, recorded
        columns: Columns = {
            "value_number": number_column(value, known),
            "value_unit": labels(np.where(known, m, -1), model.unit),
        }
        panel = np.append(np.asarray(model.panel, dtype=np.int64), -1)[m]
        together = np.flatnonzero(panel >= 0)
        if len(together):
            width = int(panel.max()) + 1
            group = (rows.visit[together] * span + rows.repeat[together]) * width + panel[together]
            distinct, which = np.unique(group, return_inverse=True)
            row = np.full(len(rows), -1, dtype=np.int64)
            row[together] = which
            columns["panel_id"] = id_column(identifier_bytes(self.seed, "panel", index, len(distinct)), row)
        return columns
