"""Records to timelines: order, gaps, stays, which row belongs to which visit, and parts of the whole."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.encoding import Timelines, encode
from ehrsynth.errors import LearningError
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records

from .learning_records import cohort


def encounter(key: str, patient: str, sequence: int, start: datetime | None, **more: object) -> dict[str, object]:
    return {
        "encounter_id": key,
        "patient_id": patient,
        "sequence": sequence,
        "start_datetime": start,
        "status": "finished",
        "encounter_class": "AMB",
        **more,
    }


def table(rows: list[dict[str, object]]) -> pa.Table:
    """Return a table with all columns of any row (`from_pylist` takes those of the first)."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])


def two_patients(**more: object) -> Records:
    patients = [
        {"patient_id": "a", "birth_date": date(1980, 1, 1), "sex": "female", "death_datetime": datetime(2020, 2, 1)},
        {"patient_id": "b", "birth_date": date(1970, 1, 1), "birth_date_precision": "year", "sex": "male"},
        {"patient_id": "nobody", "birth_date": date(1970, 1, 1), "sex": "male"},
    ]
    encounters = [
        encounter("b1", "b", 1, datetime(2019, 5, 1, 8), end_datetime=datetime(2019, 5, 1, 8, 45)),
        encounter(
            "a2", "a", 2, datetime(2020, 1, 11, 12), end_datetime=datetime(2020, 1, 13, 12), encounter_class="IMP"
        ),
        encounter("a1", "a", 1, datetime(2020, 1, 1, 9, 30), end_datetime=datetime(2020, 1, 1, 10)),
        encounter("a0", "a", 3, datetime(2020, 1, 5), status="cancelled"),
    ]
    conditions = [
        {"condition_id": "1", "patient_id": "a", "encounter_id": "a1", "code": "X", "onset_date": date(2020, 1, 1)},
        {"condition_id": "2", "patient_id": "a", "encounter_id": "a2", "code": "X", "onset_date": date(2020, 1, 12)},
        {"condition_id": "3", "patient_id": "a", "encounter_id": "a2", "code": "X", "onset_date": date(2020, 1, 12)},
        {"condition_id": "4", "patient_id": "a", "encounter_id": None, "code": "Y", "onset_date": date(2020, 1, 9)},
        {"condition_id": "5", "patient_id": "a", "encounter_id": None, "code": "Y", "onset_date": date(2010, 1, 9)},
        {"condition_id": "6", "patient_id": "b", "encounter_id": None, "code": "Y", "onset_date": None},
        {"condition_id": "7", "patient_id": "b", "encounter_id": "b1", "code": "Z", "verification_status": "refuted"},
    ]
    for row in conditions:
        row |= {"code_system": "s", "category": "encounter-diagnosis"}
    tables = {
        "patient": table(patients),
        "encounter": table(encounters),
        "condition": table(conditions),
        **more,
    }
    return Records.from_tables(tables, provenance=Provenance(source="a test"))


@pytest.fixture(scope="module")
def timelines() -> Timelines:
    return encode(two_patients(), min_patients=1)


def test_visits_are_in_order_and_what_did_not_happen_is_not_there(timelines: Timelines) -> None:
    assert timelines.offsets.tolist() == [0, 2, 3]
    assert timelines.number.tolist() == [1, 2, 1]
    assert timelines.gap_days.tolist() == [10, -1, -1]
    assert timelines.stay_minutes.tolist() == [30, 2880, 45]
    assert timelines.start_minute.tolist() == [570, 720, 480]
    assert [timelines.encounter_class.labels[i] for i in timelines.encounter_class.index] == ["AMB", "IMP", "AMB"]


def test_ages_deaths_and_ends(timelines: Timelines) -> None:
    assert timelines.age_at_start[0] == pytest.approx(40.0, abs=0.01)
    # Known to the year: on average born in the middle of it.
    assert timelines.age_at_start[1] == pytest.approx(48.83, abs=0.01)
    assert timelines.died.tolist() == [True, False]
    assert timelines.death_days.tolist() == [19, -1]
    assert timelines.birth_date_precision == "year"
    assert any("without an encounter" in note for note in timelines.notes)


def test_rows_go_to_their_visit_or_to_the_one_last_begun(timelines: Timelines) -> None:
    family = timelines.families["condition"]
    codes = [coding.code for coding in family.codings]
    found = {(int(v), codes[c]): int(n) for v, c, n in zip(family.visits, family.codes, family.counts, strict=True)}
    # Y of 9 January belongs to the visit of the 1st, and so does that of 2010, which is before all visits.
    assert found == {(0, "X"): 1, (0, "Y"): 2, (1, "X"): 2}
    assert family.set_aside == 1
    assert family.unlinked == pytest.approx(2 / 5)
    # Onset on the second day of the stay.
    later = family.row_minutes[(family.row_visit == 1)]
    assert later.tolist() == [1440, 1440]


def test_disposition_of_death_tells_of_death() -> None:
    records = two_patients()
    rows = records["encounter"].to_pylist()
    for row in rows:
        row["discharge_disposition_code"] = "exp" if row["encounter_id"] == "b1" else "home"
    died = encode(records.replace(encounter=table(rows)), min_patients=1)
    assert died.died.tolist() == [True, True]
    assert died.death_days.tolist() == [19, 0]


def test_rare_codes_and_levels_are_gone() -> None:
    strict = encode(cohort(60, codes=40), min_patients=10)
    support = np.zeros(strict.families["condition"].n_codes)
    family = strict.families["condition"]
    people = strict.patient_of_visit[family.visits]
    for c in range(family.n_codes):
        support[c] = len(set(people[family.codes == c].tolist()))
    assert support.min() >= 10
    assert (np.diff(support) <= 0).all()
    assert strict.left_out["condition"] == 40 - family.n_codes


def test_rare_displays_are_blank() -> None:
    records = cohort(40, codes=2)
    rows = records["condition"].to_pylist()
    for i, row in enumerate(rows):
        row["display"] = "everyone's word" if i % 2 else f"a private word {i}"
    family = encode(records.replace(condition=pa.Table.from_pylist(rows)), min_patients=5).families["condition"]
    assert {coding.display for coding in family.codings} == {"everyone's word"}


def test_more_visits_than_allowed_are_cut() -> None:
    cut = encode(cohort(10, visits=lambda i: 30 if i == 0 else 2), min_patients=1, max_visits=5)
    assert np.diff(cut.offsets).max() == 5
    assert cut.cut.tolist() == [True] + [False] * 9
    assert any("first 5 visits" in note for note in cut.notes)


def same(a: Timelines, b: Timelines) -> None:
    assert a.offsets.tolist() == b.offsets.tolist()
    for name in ("age_at_start", "died", "age_years", "number", "gap_days", "stay_minutes"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for name, family in a.families.items():
        other = b.families[name]
        for column in ("offsets", "codes", "counts", "row_visit", "row_code", "row_index", "row_minutes"):
            np.testing.assert_array_equal(getattr(family, column), getattr(other, column), err_msg=f"{name}.{column}")


def test_a_slice_is_the_selection_of_the_same_patients() -> None:
    whole = encode(cohort(30, visits=lambda i: 1 + i % 4), min_patients=1)
    same(whole.slice_patients(7, 19), whole.select_patients(np.arange(7, 19)))
    same(whole.slice_patients(0, 30), whole)


def test_chunks_are_the_whole_in_order() -> None:
    whole = encode(cohort(30, visits=lambda i: 1 + i % 4), min_patients=1)
    parts = list(whole.chunks(7))
    assert len(parts) > 5
    assert sum(part.n_patients for part in parts) == 30
    codes = np.concatenate([part.families["condition"].codes for part in parts])
    np.testing.assert_array_equal(codes, whole.families["condition"].codes)
    np.testing.assert_array_equal(np.concatenate([part.age_years for part in parts]), whole.age_years)


def test_selected_codes_are_renumbered() -> None:
    family = encode(cohort(30), min_patients=1).families["condition"]
    part = family.select_codes(3, 8)
    assert part.n_codes == 5
    mask = (family.codes >= 3) & (family.codes < 8)
    np.testing.assert_array_equal(part.codes, family.codes[mask] - 3)
    np.testing.assert_array_equal(part.visits, family.visits[mask])


def test_order_without_dates_begins_where_the_record_does() -> None:
    records = cohort(10, basis="order", birth=date(1950, 1, 1), record_start_date=[date(2010, 1, 1)] * 10)
    found = encode(records, min_patients=1)
    assert (found.gap_days == -1).all()
    np.testing.assert_allclose(found.age_years, 60.0, atol=0.01)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (cohort(3), "fewer than the minimum of 5"),
        (cohort(10, visits=0), "no encounters"),
        (cohort(10, birth=date(2030, 1, 1)), "negative or impossible age"),
        (cohort(10, birth=date(1800, 1, 1)), "negative or impossible age"),
        (cohort(10, basis="order"), "age is unknown"),
    ],
    ids=["three patients", "no encounters", "unborn", "too old", "no dates and no start"],
)
def test_what_cannot_be_learned_from_is_refused(records: Records, words: str) -> None:
    with pytest.raises(LearningError, match=words):
        encode(records, min_patients=5)
