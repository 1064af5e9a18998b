"""The canonical tables of a block, from arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.generation.columns import (
    Columns,
    constant,
    date_column,
    datetime_column,
    id_column,
    labels,
    number_column,
)
from ehrsynth.generation.details import BlockContext
from ehrsynth.generation.life_course.code_systems import system
from ehrsynth.generation.life_course.diagnoses import EXTRA_CODES, Diagnoses
from ehrsynth.generation.life_course.measured import Measured
from ehrsynth.generation.life_course.observed import ObservedColumns
from ehrsynth.generation.life_course.orders import Orders
from ehrsynth.generation.life_course.people import NEVER, Lives
from ehrsynth.generation.life_course.readings import FAILED
from ehrsynth.generation.life_course.segments import number_within, order_of
from ehrsynth.model.life_course import LifeCourseModel, Listing
from ehrsynth.native import compiled
from ehrsynth.randomness import identifier_bytes
from ehrsynth.terminology import CVX, ICD10CM, LOINC, RXNORM, SNOMED

__all__ = ["Writer", "within"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Makes the detail tables of one block."""

    model: LifeCourseModel
    lives: Lives
    context: BlockContext
    observed: ObservedColumns

    def _base(self, table: str, visit: Int) -> tuple[Columns, npt.NDArray[np.bytes_]]:
        ids = identifier_bytes(self.context.seed, table, self.context.block, len(visit))
        patient = self.context.encounters.visits.patient[visit]
        columns: Columns = {
            f"{table}_id": id_column(ids),
            "patient_id": id_column(self.context.patient_ids, patient),
            "encounter_id": id_column(self.context.encounter_ids, visit),
            "practitioner_id": id_column(
                self.context.shared_ids["practitioner"], self.context.surroundings.practitioner[visit]
            ),
        }
        return columns, ids

    def _within(self, visit: Int, share: Float) -> Int:
        """Return a time within each encounter, on its first day, in whole minutes."""
        return within(self.context.encounters.start, self.context.encounters.end, visit, share)

    def conditions(self, found: Diagnoses) -> tuple[pa.Table, npt.NDArray[np.bytes_]]:
        """Return the condition table and its identifiers."""
        codes = self.model.listing("codes")
        columns, ids = self._base("condition", found.visit)
        encounters = self.context.encounters
        patient = encounters.visits.patient[found.visit]
        last = self.lives.last_day[patient]
        recorded = encounters.start[found.visit] // 86_400
        # What a visit finds is not over before it.
        end = np.maximum(found.end, np.where(found.listed, found.onset, np.maximum(found.onset, recorded)))
        over = found.end <= last
        # What a dead person still had ended with the person, unrecorded.
        columns |= {
            "category": labels(np.where(found.listed, 1, 0), ["encounter-diagnosis", "problem-list-item"]),
            "code_system": constant(ICD10CM, len(found)),
            "code": labels(found.code, [*codes.text["code"], *(code for code, _ in EXTRA_CODES)]),
            "display": labels(found.code, [*codes.text["display"], *(text for _, text in EXTRA_CODES)]),
            "clinical_status": labels(np.where(over, 1, 0), ["active", "resolved"]),
            "verification_status": constant("confirmed", len(found)),
            "onset_date": date_column(found.onset),
            "abatement_date": date_column(np.where(over, end, 0), over),
            "recorded_date": date_column(recorded),
            "rank": number_column(found.rank),
        }
        return pa.table(columns), ids

    def medications(self, orders: Orders, reason: Int, condition_ids: npt.NDArray[np.bytes_]) -> pa.Table:
        """Return the medication table; `reason` is the row of the condition that each is for."""
        rows = self.model.listing("treatments")
        columns, _ = self._base("medication_request", orders.visit)
        row, open_ended = orders.treatment, orders.end >= NEVER
        dead = self.lives.dead[orders.patient]
        ended = np.minimum(orders.end, self.lives.last_day[orders.patient])
        status = np.where(open_ended, np.where(dead, 2, 0), 1)
        known = ~open_ended | dead
        time = self._within(orders.visit, np.full(len(orders), 0.8))
        columns |= {
            "code_system": constant(RXNORM, len(orders)),
            "code": labels(row, rows.text["rxnorm"]),
            "display": labels(row, rows.text["display"]),
            "status": labels(status, ["active", "completed", "stopped"]),
            "intent": constant("order", len(orders)),
            "authored_datetime": datetime_column(time),
            "time_precision": constant("minute", len(orders)),
            "start_date": date_column(orders.start),
            "end_date": date_column(np.where(known, np.maximum(ended, orders.start), 0), known),
            "sig": labels(row, rows.text["sig"]),
            "route_system": labels(row, [SNOMED if code else "" for code in rows.text["route_code"]]),
            "route_code": labels(row, rows.text["route_code"]),
            "route_display": labels(row, rows.text["route_display"]),
            "dose_unit": labels(row, rows.text["dose_unit"]),
            "reason_condition_id": id_column(condition_ids, reason),
        }
        for name in ("dose_value", "frequency_per_day", "days_supply", "quantity", "refills"):
            columns[name] = _number(rows, name, row, whole=name in ("days_supply", "refills"))
        return pa.table(columns)

    def observations(
        self, measured: Measured, value: Float, read: Int, answers: tuple[Int, Int]
    ) -> tuple[pa.Table, Int]:
        """Return the observation table, sorted by encounter, and the encounter of each row."""
        visit, row, report = measured
        n_labs, n_grades = len(self.model.listing("labs")), len(self.model.listing("scales"))
        all_visit = np.concatenate([visit, answers[0]])
        code = np.concatenate([row, n_labs + answers[1]])
        group = np.concatenate([report, np.full(len(answers[0]), -1)])
        number = np.concatenate([np.where(read == -1, value, np.nan), np.full(len(answers[0]), np.nan)])
        # What stands in the place of a number: grades of a scale, then answers to questions.
        said = np.concatenate([np.maximum(read, -1), n_grades + answers[1]])
        failed = np.concatenate([read == FAILED, np.zeros(len(answers[0]), dtype=bool)])
        order = order_of(all_visit)
        all_visit, code, group, number = all_visit[order], code[order], group[order], number[order]
        said, failed = said[order], failed[order]
        columns, _ = self._base("observation", all_visit)
        size = np.bincount(group[group >= 0], minlength=1)
        together = (group >= 0) & (size[np.maximum(group, 0)] > 1) & self.observed.in_panel[code]
        panels = identifier_bytes(self.context.seed, "panel", self.context.block, len(size))
        columns |= {
            "panel_id": id_column(panels, np.where(together, group, -1)),
            "status": constant("final", len(code)),
            "code_system": constant(LOINC, len(code)),
            "effective_datetime": datetime_column(self._within(all_visit, self.observed.share[code])),
            "time_precision": constant("minute", len(code)),
            **self.observed.columns(code, number, said, failed),
        }
        return pa.table(columns), all_visit

    def procedures(self, visit: Int, row: Int, reason: Int, condition_ids: npt.NDArray[np.bytes_]) -> pa.Table:
        """Return the procedure table."""
        rows = self.model.listing("procedures")
        columns, _ = self._base("procedure", visit)
        start = self._within(visit, np.full(len(visit), 0.3))
        end = np.minimum(start + 1200, self.context.encounters.end[visit])
        # What is done in an office is taken down with its time; beginning and end are an operating room's.
        timed = np.array([place != "amb" for place in rows.text["place"]], dtype=bool)[row]
        columns |= {
            "code_system": labels(row, [system(name) for name in rows.text["system"]]),
            "code": labels(row, rows.text["code"]),
            "display": labels(row, rows.text["display"]),
            "status": constant("completed", len(visit)),
            "start_datetime": datetime_column(start),
            "end_datetime": datetime_column(np.maximum(end, start), timed),
            "time_precision": constant("minute", len(visit)),
            "reason_condition_id": id_column(condition_ids, reason),
        }
        return pa.table(columns)

    def immunizations(self, visit: Int, row: Int) -> pa.Table:
        """Return the immunization table; doses of one vaccine are numbered as given."""
        rows = self.model.listing("immunizations")
        columns, _ = self._base("immunization", visit)
        patient = self.context.encounters.visits.patient[visit]
        code = rows.integers("code_number")[row]
        order = order_of(patient, code)
        dose = np.empty(len(visit), dtype=np.int64)
        dose[order] = number_within(patient[order] * 4096 + code[order]) + 1
        columns |= {
            "code_system": constant(CVX, len(visit)),
            "code": labels(row, rows.text["cvx"]),
            "display": labels(row, rows.text["display"]),
            "status": constant("completed", len(visit)),
            "occurrence_datetime": datetime_column(self._within(visit, np.full(len(visit), 0.7))),
            "time_precision": constant("minute", len(visit)),
            "dose_number": number_column(dose),
            "primary_source": number_column(np.ones(len(visit), dtype=bool)),
        }
        return pa.table(columns)

    def allergies(self, visit: Int, row: Int, onset: Int) -> pa.Table:
        """Return the allergy table."""
        rows = self.model.listing("allergies")
        columns, _ = self._base("allergy_intolerance", visit)
        severe = [text if text in ("mild", "moderate", "severe") else "" for text in rows.text["severity"]]
        columns |= {
            "code_system": labels(row, [system(name) for name in rows.text["system"]]),
            "code": labels(row, rows.text["code"]),
            "display": labels(row, rows.text["display"]),
            "allergy_type": labels(row, rows.text["type"]),
            "category": labels(row, rows.text["category"]),
            "criticality": labels(row, ["high" if text == "severe" else "low" for text in severe]),
            "clinical_status": constant("active", len(visit)),
            "verification_status": constant("confirmed", len(visit)),
            "onset_date": date_column(np.minimum(onset, self.context.encounters.start[visit] // 86_400)),
            "recorded_date": date_column(self.context.encounters.start[visit] // 86_400),
            "reaction_system": labels(
                row,
                [
                    system(name) if code else ""
                    for name, code in zip(rows.text["reaction_system"], rows.text["reaction_code"], strict=True)
                ],
            ),
            "reaction_code": labels(row, rows.text["reaction_code"]),
            "reaction_display": labels(row, rows.text["reaction_display"]),
            "reaction_severity": labels(
                row, [s if c else "" for s, c in zip(severe, rows.text["reaction_code"], strict=True)]
            ),
        }
        return pa.table(columns)

    def devices(self, visit: Int, row: Int) -> pa.Table:
        """Return the device table."""
        rows = self.model.listing("devices")
        columns, _ = self._base("device", visit)
        columns |= {
            "code_system": labels(row, [system(name) for name in rows.text["system"]]),
            "code": labels(row, rows.text["code"]),
            "display": labels(row, rows.text["display"]),
            "status": constant("active", len(visit)),
            "start_datetime": datetime_column(self._within(visit, np.full(len(visit), 0.4))),
            "time_precision": constant("minute", len(visit)),
        }
        return pa.table(columns)


def _number(rows: Listing, name: str, row: Int, *, whole: bool) -> pa.Array:
    value = rows.number[name][row]
    known = ~np.isnan(value)
    plain = np.nan_to_num(value)
    column = number_column(plain.astype(np.int64) if whole else plain, known)
    return column if whole else pc.cast(column, pa.float64())


def within(start: Int, end: Int, visit: Int, share: Float) -> Int:
    """Return a time in whole minutes on the first day of each encounter, when a share of it is over.

    Parameters
    ----------
    start, end : int64[v]
        Of all encounters, in seconds; of long ones the first six hours count.
    visit : int64[r]
    share : float64[r]
    """
    native = compiled()
    if native is not None:
        found = np.empty(len(visit), dtype=np.int64)
        native.within(*map(np.ascontiguousarray, (start, end, visit, share)), found)
        return found
    begin = start[visit]
    length = np.minimum(end[visit] - begin, 6 * 3600)
    same_day = (begin // 86_400 + 1) * 86_400 - 60
    return np.asarray(np.minimum(begin + (share * length).astype(np.int64) // 60 * 60, same_day))
