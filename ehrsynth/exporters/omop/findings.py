"""Observations and allergies as OMOP measurements and observations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.omop.block import Block, Coded, Sheet, facts, flat, look_up
from ehrsynth.exporters.omop.concepts import ALLERGY, Code, Target
from ehrsynth.exporters.omop.events import ABSENT, Visits, dates, days, done, opened, qualifier, sheets, timed
from ehrsynth.terminology import CVX, NDC, RXNORM

__all__ = ["allergies", "observations"]

_WORDS = ("allergy_type", "onset_date", "criticality", "category", "severity", "status")


def allergies(block: Block, seen: Visits) -> list[Sheet]:
    """Return observation of allergies: the concept is the allergy where the map knows it, the code the substance.

    Of a drug it is the allergy to drugs. The substance is the value, as OHDSI has it; the reaction stands in the text,
    and what is known of the allergy itself as words in the qualifier: mechanism, onset, criticality...
    """
    event = opened(block, seen, "allergy_intolerance", "Observation")
    rows, coded = event.rows, event.coded
    start, onset = days(rows["recorded_date"]), days(rows["onset_date"])
    start = np.where(start == ABSENT, onset, start)
    to = block.concepts.resolve([code._replace(system=ALLERGY, display=None) for code in coded.codes])
    targets = [
        _allergy(code, own, allergy.standard) for code, own, allergy in zip(coded.codes, coded.targets, to, strict=True)
    ]
    block.used.concepts |= {target.standard for target in targets}
    event = replace(event, coded=Coded(index=coded.index, codes=coded.codes, targets=targets))
    substance = pc.if_else(pc.equal(coded.standard_ids, 0), coded.source_ids, coded.standard_ids)
    reaction = block.coded(rows, "reaction", domain="Observation")
    own = {
        "value_as_string": pc.utf8_slice_codeunits(flat(rows["reaction_display"].cast(pa.string())), 0, 60),
        "value_as_concept_id": substance,
        # Only standard concepts may qualify: of a reaction that has none the text remains.
        "qualifier_concept_id": pc.if_else(pc.equal(reaction.standard_ids, 0), None, reaction.standard_ids),
        "qualifier_source_value": _said_of_allergies(rows),
    }
    keep = done(rows, "verification_status")
    return sheets(block, event, start, {"Observation": own}, keep, kind=facts()["type"]["default"])


def _allergy(code: Code, own: Target, standard: int) -> Target:
    """Where a substance leads as what somebody is allergic to."""
    if standard:
        return own._replace(standard=standard, domain="Observation", relation="mapped")
    if own.domain == "Drug" or code.system in (RXNORM, NDC, CVX):
        return own._replace(standard=facts()["drug_allergy"], domain="Observation", relation="broader")
    return own if own.domain in ("Observation", "Condition") else own._replace(standard=0, domain="Observation")


def _said_of_allergies(rows: pa.Table) -> pa.Array:
    """The words of the qualifier; those that are nearly always the same are left out."""
    texts = {name: flat(rows[name].cast(pa.string())) for name in rows.column_names if name.endswith(_WORDS)}
    usual = {"clinical_status": "active", "verification_status": "confirmed"}
    for name, word in usual.items():
        texts[name] = pc.if_else(pc.equal(texts[name], word), None, texts[name])
    return qualifier(
        pc.coalesce(texts["allergy_type"], "allergy"),
        texts["onset_date"],
        *(
            texts[name]
            for name in ("criticality", "category", "reaction_severity", "clinical_status", "verification_status")
        ),
    )


def observations(block: Block, seen: Visits) -> list[Sheet]:
    """Return measurement and observation.

    A row goes by its concept's domain; one without a concept is a measurement if it is of the laboratory or a vital
    sign. What it says is a number with comparator and unit, a concept, or text. Those of a panel lead to the first of
    them (see `tables.panels`).
    """
    event = opened(block, seen, "observation", "Observation")
    rows, known = event.rows, facts()["type"]
    first, _ = event.visit_day
    start = days(rows["effective_datetime"])
    start = np.where(start == ABSENT, first, start)
    category = flat(rows["category"].cast(pa.string()))
    measured = pc.is_in(category, value_set=pa.array(["laboratory", "vital-signs"])).to_numpy(zero_copy_only=False)
    unmapped = np.array([*(not target.standard for target in event.coded.targets), False])[event.coded.index]
    is_measurement = event.coded.in_domain("Measurement") | (unmapped & measured)
    kinds = np.select(
        [
            pc.equal(category, name).to_numpy(zero_copy_only=False)
            for name in ("laboratory", "vital-signs", "exam", "survey", "social-history")
        ],
        [known["laboratory"], known["examination"], known["examination"], known["survey"], known["survey"]],
        known["default"],
    )
    keep = done(rows, "status")
    dated = start != ABSENT
    block.used.drop("observation without a date", int((keep & ~dated).sum()))
    block.used.drop("observation that did not happen", int((~keep).sum()))
    block.used.concepts |= {int(one) for one in np.unique(kinds)}
    unit = flat(rows["value_unit"].cast(pa.string())).dictionary_encode()
    unit_ids = pa.array(block.concepts.units(unit.dictionary.to_pylist()), pa.int64())
    block.used.concepts |= {one for one in unit_ids.to_pylist() if one is not None}
    comparator = look_up(rows["value_comparator"], facts()["comparator"], None)
    block.used.concepts |= {one for one in pc.unique(comparator).to_pylist() if one is not None}
    panel = flat(rows["panel_id"]).dictionary_encode().indices
    texts = flat(rows["value_text"].cast(pa.string()))
    # A value of a list that has no code: no concept is known of it, which OMOP says with 0.
    bare = pc.and_(pc.is_null(flat(rows["value_code"])), pc.is_valid(flat(rows["value_display"])))
    term = pc.if_else(bare, pc.utf8_slice_codeunits(flat(rows["value_display"].cast(pa.string())), 0, 50), None)
    found = []
    for table, mask in (("measurement", is_measurement), ("observation", ~is_measurement)):
        here = mask & keep & dated
        if not here.any():
            continue
        value = _values(block, rows, here, "value" if table == "measurement" else "")
        columns: dict[str, Any] = {
            **{name: one for name, one in event.base.items() if one is not None and name[0] != "_"},
            f"{table}_concept_id": event.coded.standard_ids,
            f"{table}_source_concept_id": event.coded.source_ids,
            f"{table}_source_value": event.coded.texts,
            f"{table}_type_concept_id": kinds,
            f"{table}_date": dates(start),
            f"{table}_event_id": panel,
            f"{table}_datetime": timed(rows, "effective_datetime"),
            "value_as_number": flat(rows["value_number"]),
            "value_as_concept_id": pc.if_else(bare, pa.scalar(0, pa.int64()), value["ids"]),
            "unit_concept_id": unit_ids.take(unit.indices),
            "unit_source_value": pc.utf8_slice_codeunits(flat(rows["value_unit"].cast(pa.string())), 0, 50),
            "value_source_value": pc.coalesce(value["texts"], term, pc.utf8_slice_codeunits(texts, 0, 50)),
        }
        if table == "measurement":
            columns |= {
                "operator_concept_id": comparator,
                "range_low": flat(rows["reference_low"]),
                "range_high": flat(rows["reference_high"]),
            }
        else:
            for name in ("value_comparator", "reference_low", "reference_high"):
                said = flat(pc.is_valid(rows[name])).to_numpy(zero_copy_only=False)
                block.used.lose(f"observation.{name}", int((said & here).sum()))
            columns |= {"value_as_string": pc.utf8_slice_codeunits(texts, 0, 60)}
        block.used.count(table, event.coded, here)
        found.append(Sheet(table=table, person=event.person, columns=columns).keep(here))
    return found


def _values(block: Block, rows: pa.Table, here: npt.NDArray[np.bool_], role: str) -> dict[str, pa.Array]:
    """The concepts of coded values, standard ones or our own, and their texts, for the rows that are `here`."""
    empty: list[str | None] = [None] * rows.num_rows
    if not flat(pc.is_valid(rows["value_code"])).filter(pa.array(here)).true_count:
        return {"ids": pa.nulls(rows.num_rows, pa.int64()), "texts": pa.array(empty, pa.string())}
    kept = pa.array(here)
    columns = {
        name: pc.if_else(kept, flat(rows[name].cast(pa.string())), None)
        for name in ("value_system", "value_code", "value_display")
    }
    coded = block.coded(pa.table(columns), "value", domain="Meas Value", role=role)
    ids = pc.if_else(pc.equal(coded.standard_ids, 0), coded.source_ids, coded.standard_ids)
    return {"ids": ids, "texts": coded.texts}
