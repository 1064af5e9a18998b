"""A block of records as tables of OMOP CDM 5.4."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.omop import acts, events, findings, people
from ehrsynth.exporters.omop.block import Block, Ints, Sheet, facts, whole_table
from ehrsynth.exporters.omop.concepts import ConceptIds
from ehrsynth.exporters.omop.derived import costs, notes, specimens
from ehrsynth.exporters.omop.eras import Spans, eras, expand
from ehrsynth.exporters.omop.in_use import note_of
from ehrsynth.exporters.omop.losses import lost_in_block, lost_in_shared
from ehrsynth.records import Records
from ehrsynth.schema import omop

__all__ = ["block_tables", "shared_tables"]

# Days that bound a person's record: where the first and the last thing that happened stand.
_SPANNED = {
    "visit_occurrence": ("visit_start_date", "visit_end_date"),
    "condition_occurrence": ("condition_start_date", "condition_end_date"),
    "drug_exposure": ("drug_exposure_start_date", "drug_exposure_end_date"),
    "procedure_occurrence": ("procedure_date", "procedure_end_date"),
    "measurement": ("measurement_date", ""),
    "observation": ("observation_date", ""),
    "device_exposure": ("device_exposure_start_date", "device_exposure_end_date"),
    "death": ("death_date", ""),
}


def shared_tables(shared: Records, concepts: ConceptIds) -> tuple[dict[str, pa.Table], bytes]:
    """Return location, care_site and provider of what patients share, and the note of the concepts in them."""
    block = Block(shared, shared, concepts)
    tables = {}
    for name, columns in people.places(block).items():
        n = len(next(iter(columns.values())))  # type: ignore[arg-type]
        sheet = Sheet(table=name, person=np.zeros(n, np.int64), columns=columns)
        schema = omop()[name]
        rows = whole_table(block, name, [sheet])
        if n:
            place = schema.names.index(schema.primary_key)
            rows = rows.set_column(place, schema.primary_key, columns[schema.primary_key])
        tables[name] = rows
    block.used.concepts |= {facts()["cdm_version"], *facts()["sex"].values()}
    lost_in_shared(block)
    block.used.time_basis = shared.provenance.time_basis
    return tables, note_of(block.used)


def block_tables(records: Records, shared: Records, concepts: ConceptIds) -> tuple[dict[str, pa.Table], bytes]:
    """Return the tables of a block of patients, and the note of the concepts in them and what was left out.

    Raises
    ------
    OutputError
        The records have no dates, or a patient more rows than ids have room for.
    """
    block = Block(records, shared, concepts)
    seen = events.visits(block)
    sheets: dict[str, list[Sheet]] = {name: [] for name in omop().names}
    made = [people.persons(block), people.homes(block), people.deaths(block), seen.sheet]
    for make in (
        acts.conditions,
        acts.drugs,
        acts.vaccines,
        acts.procedures,
        acts.devices,
        findings.observations,
        findings.allergies,
    ):
        made += make(block, seen)
    for sheet in made:
        sheets[sheet.table].append(sheet)
    tables = {name: whole_table(block, name, parts) for name, parts in sheets.items() if parts}
    for name in ("measurement", "observation"):
        if name in tables:
            tables[name] = panels(tables[name], name)
    first, last = _bounds(tables, block)
    period = people.observation_periods(block, first, last)
    until = period.columns["observation_period_end_date"].cast(pa.int32()).to_numpy().astype(np.int64)
    tables["observation_period"] = whole_table(block, "observation_period", [period])
    tables["payer_plan_period"] = whole_table(block, "payer_plan_period", [people.plans(block, until)])
    tables |= _era_tables(tables, block)
    if records.provenance.synthetic or shared.provenance.synthetic:
        derived = [specimens(block), costs(block, seen, tables["payer_plan_period"]), notes(block, seen)]
        tables |= {sheet.table: whole_table(block, sheet.table, [sheet]) for sheet in derived if sheet is not None}
    _note_persons(tables["person"], block)
    lost_in_block(block)
    if len(until):
        block.used.last_day = int(until.max())
    return tables, note_of(block.used)


def panels(rows: pa.Table, name: str) -> pa.Table:
    """Return the rows of a table with the number of each panel as the key of its first row."""
    column = f"{name}_event_id"
    group = pc.fill_null(rows[column], -1).to_numpy()
    distinct, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    if not len(distinct):
        return rows
    keys = rows[f"{name}_id"].to_numpy()[first][inverse.reshape(-1)]
    return rows.set_column(rows.column_names.index(column), column, pa.array(keys, mask=group < 0))


def _note_persons(person: pa.Table, block: Block) -> None:
    for name in ("gender_concept_id", "race_concept_id", "ethnicity_concept_id"):
        block.used.concepts |= set(pc.unique(person[name]).to_pylist())


def _bounds(tables: dict[str, pa.Table], block: Block) -> tuple[Ints, Ints]:
    n = len(block.persons)
    first = np.full(n, people.NEVER)
    last = np.full(n, -people.NEVER)
    for name, (start, end) in _SPANNED.items():
        rows = tables.get(name)
        if rows is None or not rows.num_rows:
            continue
        who = rows["person_id"].to_numpy() - block.first - 1
        for column in (start, end):
            if column:
                there = rows[column].is_valid().to_numpy()
                day = pc.fill_null(rows[column].cast(pa.int32()), 0).to_numpy().astype(np.int64)[there]
                np.minimum.at(first, who[there], day)
                np.maximum.at(last, who[there], day)
    return first, last


def _era_tables(tables: dict[str, pa.Table], block: Block) -> dict[str, pa.Table]:
    condition = tables.get("condition_occurrence")
    drug = tables.get("drug_exposure")
    found = {}
    if condition is not None and condition.num_rows:
        who, what, start, end = _occurrences(condition, "condition", "condition", block)
        spans = eras(who, what, start, end)
        columns = {"condition_occurrence_count": spans.occurrences}
        found["condition_era"] = _era(block, "condition_era", "condition", spans, columns)
    if drug is not None and drug.num_rows:
        who, what, start, end = _occurrences(drug, "drug", "drug_exposure", block)
        parts = block.concepts.ingredients(np.unique(what).tolist())
        rows, part = expand(what, parts)
        spans = eras(who[rows], part, start[rows], end[rows])
        block.used.concepts |= set(np.unique(part).tolist())
        columns = {"drug_exposure_count": spans.occurrences, "gap_days": spans.gap_days}
        found["drug_era"] = _era(block, "drug_era", "drug", spans, columns)
    return found


def _occurrences(rows: pa.Table, concept: str, stem: str, block: Block) -> tuple[Ints, Ints, Ints, Ints]:
    """Person, concept, first and last day of the rows that have a standard concept."""
    what = rows[f"{concept}_concept_id"].to_numpy()
    start = rows[f"{stem}_start_date"].cast(pa.int32()).to_numpy().astype(np.int64)
    ended = pc.coalesce(rows[f"{stem}_end_date"], rows[f"{stem}_start_date"])
    end = ended.cast(pa.int32()).to_numpy().astype(np.int64)
    kept = what != 0
    return rows["person_id"].to_numpy()[kept] - block.first - 1, what[kept], start[kept], end[kept]


def _era(block: Block, table: str, stem: str, spans: Spans, columns: dict[str, Ints]) -> pa.Table:
    sheet = Sheet(
        table=table,
        person=spans.person,
        columns={
            f"{stem}_concept_id": spans.concept,
            f"{stem}_era_start_date": pa.array(spans.start.astype(np.int32)).cast(pa.date32()),
            f"{stem}_era_end_date": pa.array(spans.end.astype(np.int32)).cast(pa.date32()),
            **columns,
        },
    )
    return whole_table(block, table, [sheet])
