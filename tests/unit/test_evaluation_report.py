"""Evaluation of hand-made records: what counts, what does not apply, what is refused."""

from __future__ import annotations

import csv
import io
import json
from types import ModuleType

import pyarrow as pa
import pytest

from ehrsynth import plugins
from ehrsynth.errors import MissingExtraError, SourceError, UsageError
from ehrsynth.evaluation import classifier, codes, evaluate
from ehrsynth.evaluation.assembly import assemble
from ehrsynth.evaluation.completeness import clinical_columns
from ehrsynth.evaluation.subgroups import impossible
from ehrsynth.records import Records
from ehrsynth.schema import clinical

CHEAP = [name for name in plugins.names("ehrsynth.metrics") if name not in ("utility", "detection")]


def codes_of(records: Records) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """The (visit, code) and the (patient, code) of one cohort."""
    (cohort,) = assemble({"real": records}, seed=0)
    named = [code for _, code in cohort.vocabulary.codings]
    by_visit = [(int(v), named[c]) for v, c in zip(cohort.code_visit, cohort.code, strict=True)]
    return by_visit, [(int(p), named[c]) for p, c in zip(cohort.ever_patient, cohort.ever_code, strict=True)]


def test_rows_without_encounter_go_to_the_visit_last_begun_or_only_to_the_record(evaluated: ModuleType) -> None:
    visits = [evaluated.Visit(day=10), evaluated.Visit(day=20)]
    loose = [("A09", 5), ("B02.9", 10), ("C50.919", 19), ("D64.9", 400), ("E78.5", None)]
    records = evaluated.records([evaluated.Person(visits), evaluated.Person(visits, loose=loose)])
    by_visit, ever = codes_of(records)
    assert by_visit == [(2, "A09"), (2, "B02.9"), (2, "C50.919"), (3, "D64.9")]
    assert ever == [(1, code) for code, _ in loose]


def test_void_rows_and_encounters_that_did_not_happen_do_not_count(evaluated: ModuleType) -> None:
    visits = [evaluated.Visit(day=1, codes=["I10", "A09"]), evaluated.Visit(day=2, codes=["I10"])]
    records = evaluated.records([evaluated.Person(visits), evaluated.Person([evaluated.Visit(codes=["I10"])])])
    status = pa.array(["confirmed", "refuted", "confirmed", "confirmed"])
    records = records.replace(
        condition=records["condition"].drop_columns("verification_status").append_column("verification_status", status),
        encounter=records["encounter"]
        .drop_columns("status")
        .append_column("status", pa.array(["finished", "cancelled", "planned"])),
    )
    report = evaluate(records, records, metrics=["temporal"], bootstrap=0)
    assert report.patients == {"real": 1, "synthetic": 1}
    assert any("1 of the real patients (50.0 %) have no encounter" in note for note in report.notes)
    assert codes_of(records)[0] == [(0, "I10")]


def test_records_of_order_only_say_what_does_not_apply(evaluated: ModuleType) -> None:
    records = evaluated.population(1, 60, dated=False)
    report = evaluate(records, records, bootstrap=5, metrics=CHEAP)
    for name in ("temporal.gaps.tvd", "survival.death.sup", "survival.record_length.ks"):
        assert report[name].value is None
        assert report[name].note == "not applicable: records of order only have no dates"
    assert report["codes.condition.sequential_pairs.r2"].value == 1.0
    assert report["temporal.visits.tvd"].value == 0.0
    dated = evaluated.population(1, 60)
    mixed = evaluate(dated, records, bootstrap=0, metrics=CHEAP)
    assert mixed["temporal.gaps.tvd"].value is None
    assert any("Only some of the records have dates" in note for note in mixed.notes)


@pytest.mark.parametrize("n", [1, 3])
def test_a_few_patients_are_compared_or_the_reason_is_said(evaluated: ModuleType, n: int) -> None:
    records = evaluated.population(2, n)
    report = evaluate(records, records, bootstrap=20)
    assert {result.group for result in report.results} == set(plugins.names("ehrsynth.metrics"))
    for result in report.results:
        assert result.value is not None or result.note.startswith("not applicable: ")
    assert report["detection.auc"].value is None
    assert report["utility.tstr.gap"].note == "not applicable: fewer than 40 patients with two visits in a cohort"


def test_one_visit_without_anything_is_enough(evaluated: ModuleType) -> None:
    records = evaluated.records([evaluated.Person([evaluated.Visit()], race=None)])
    report = evaluate(records, records, bootstrap=10)
    assert report["temporal.visits.mean_error"].value == 0.0
    assert "codes.condition.unigram.r2" not in report


def test_what_is_impossible_is_counted(evaluated: ModuleType) -> None:
    person, visit = evaluated.Person, evaluated.Visit
    real = evaluated.records([person([visit(codes=["O80", "I10"])], age=30)])
    synthetic = evaluated.records(
        [
            person([visit(codes=["O80", "N40.0"])], sex="male", age=30),
            person([visit(codes=["O80"])], age=90),
            person([visit(codes=["I10"])], age=90),
        ]
    )
    report = evaluate(real, synthetic, metrics=["subgroups"], bootstrap=0)
    found = report["subgroups.impossible.count"]
    assert found.value == 2.0
    assert found.note == "of 4; 0 of 2 in the reference; for instance O80, male, 30.0 years"


def test_codes_by_sex_and_age_and_prevalence_by_hand(evaluated: ModuleType) -> None:
    def cohort(share: float) -> Records:
        women = [evaluated.Person([evaluated.Visit(codes=["I10"] * (k < 120 * share))], age=35) for k in range(120)]
        men = [evaluated.Person([evaluated.Visit(codes=["I10"])], sex="male", age=75, race=None) for _ in range(60)]
        return evaluated.records(women + men)

    report = evaluate(cohort(0.25), cohort(0.75), metrics=["subgroups"], bootstrap=0)
    # By visit only the women are enough (100 visits), by patient the men too (50 patients), who are the same.
    assert report["subgroups.sex_age.mean_error"].value == pytest.approx(0.5)
    assert report["subgroups.sex_age.max_error"].note == "I10: 0.750 against 0.250"
    assert report["subgroups.prevalence.mean_error"].value == pytest.approx(0.25)
    assert report["subgroups.prevalence.mean_error"].note == "1 codes in 2 subgroups"


def test_survival_by_hand(evaluated: ModuleType) -> None:
    def cohort(deaths: list[int]) -> Records:
        dying = [evaluated.Person([evaluated.Visit()], death=day) for day in deaths]
        return evaluated.records(
            dying + [evaluated.Person([evaluated.Visit()], end=100) for _ in range(10 - len(dying))]
        )

    report = evaluate(cohort([10, 20]), cohort([20, 30, 40, 50]), metrics=["survival"], bootstrap=0)
    # 1, .9, .8, .8 ... against 1, 1, .9, .8, .7, .6 on the days 0, 10, 20, 30, 40, 50.
    assert report["survival.death.sup"].value == pytest.approx(0.2)
    assert report["survival.death.sup"].note == "0.400 against 0.200 die"
    assert report["survival.record_length.ks"].value == pytest.approx(0.2)


def test_stays_gaps_and_quantiles_by_hand(evaluated: ModuleType) -> None:
    def cohort(hours: int, gap: int, shift: float) -> Records:
        people = []
        for k in range(60):
            visits = [
                evaluated.Visit(0, kind="IMP", hours=hours, numbers=[("2345-7", k + shift)]),
                evaluated.Visit(gap, kind="AMB", hours=0.2),
            ]
            people.append(evaluated.Person(visits))
        return evaluated.records(people)

    report = evaluate(cohort(30, 5, 0.0), cohort(90, 50, 15.0), metrics=["temporal", "numeric"], bootstrap=0)
    assert report["temporal.stay.tvd"].value == pytest.approx(0.5)
    assert report["temporal.gaps.tvd"].value == 1.0
    assert report["numeric.ks.max"].value == pytest.approx(0.25)
    # Quartiles of 0..59 are 14 and 44: the interquartile range is 30.
    assert report["numeric.quantiles.error"].value == pytest.approx(0.5)
    assert report["numeric.correlation.mean_error"].value is None


def test_ages_of_records_without_dates_are_only_known_at_the_start(evaluated: ModuleType) -> None:
    visits = [evaluated.Visit(codes=["O80"]), evaluated.Visit(codes=["O80"])]
    (cohort,) = assemble({"real": evaluated.records([evaluated.Person(visits, age=5)], dated=False)}, seed=0)
    assert impossible(cohort).tolist() == [0]
    (cohort,) = assemble({"real": evaluated.records([evaluated.Person(visits, age=5)])}, seed=0)
    assert impossible(cohort).tolist() == [0, 1]


def test_empty_columns_and_invented_ones(evaluated: ModuleType) -> None:
    person, visit = evaluated.Person, evaluated.Visit
    real = evaluated.records([person([visit()]), person([visit()], race=None)])
    synthetic = evaluated.records([person([visit()]), person([visit()])])
    patients = synthetic["patient"].drop_columns("marital_status_code")
    synthetic = synthetic.replace(patient=patients.append_column("marital_status_code", pa.array(["M", "S"])))
    report = evaluate(real, synthetic, metrics=["completeness", "person"], bootstrap=0)
    assert report["completeness.empty.max_error"].value == 0.5
    assert report["completeness.empty.max_error"].note == "patient.race_code: 0.000 against 0.500 empty"
    assert report["completeness.invented.columns"].value == 1.0
    assert report["completeness.invented.columns"].note == "patient.marital_status_code"
    assert "person.marital_status.tvd" not in report
    assert report["person.race.tvd"].value == 0.5


def test_clinical_columns_leave_out_keys_and_identities() -> None:
    columns = clinical_columns(clinical())
    assert ("patient", "race_code") in columns
    assert ("observation", "value_number") in columns
    names = {column for _, column in columns}
    assert not names & {"patient_id", "family_name", "display", "time_precision", "social_security_number"}


def test_with_a_control_everything_is_judged_against_it(evaluated: ModuleType) -> None:
    real, control = evaluated.population(1, 80), evaluated.population(2, 80)
    calls: list[tuple[int, int, str]] = []
    report = evaluate(
        real, real, control=control, bootstrap=20, metrics=CHEAP, progress=lambda *call: calls.append(call)
    )
    assert report.reference == "control"
    for result in report.results:
        if result.value is not None:
            # Patients are dealt into groups by cohort: sums of numbers differ in the last digits.
            assert result.behind == pytest.approx(0.0, abs=1e-9)
    assert report["codes.condition.ever.r2"].value < 1.0
    assert calls[0] == (0, len(CHEAP), "person")
    assert calls[-1] == (len(CHEAP), len(CHEAP), "")
    against_real = evaluate(control, real, bootstrap=0, metrics=CHEAP)
    for result in against_real.results:
        assert result.baseline is None
        assert result.behind is None
        assert result.value == pytest.approx(report[result.name].value, abs=1e-9)


def test_the_report_as_documents(evaluated: ModuleType) -> None:
    records = evaluated.population(1, 40)
    report = evaluate(records, records, metrics=["temporal", "person"], bootstrap=12, seed=3)
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert [entry["name"] for entry in document["results"]] == [result.name for result in report.results]
    assert (document["seed"], document["bootstrap"]) == (3, 12)
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert [row["name"] for row in rows] == [result.name for result in report.results]
    visits = next(row for row in rows if row["name"] == "temporal.visits.tvd")
    interval = report["temporal.visits.tvd"].interval
    assert interval is not None
    assert (float(visits["interval_low"]), float(visits["interval_high"])) == interval
    assert visits["baseline"] == ""
    # Groups stand in the order of the metrics, not of the request.
    assert report.results[0].group == "person"
    with pytest.raises(UsageError, match=r"temporal\.visits\.tvd"):
        report["temporal.visit.tvd"]


def test_what_is_refused(evaluated: ModuleType) -> None:
    records = evaluated.population(1, 5)
    with pytest.raises(UsageError, match="temporal"):
        evaluate(records, records, metrics=["temporel"])
    with pytest.raises(UsageError, match="bootstrap"):
        evaluate(records, records, bootstrap=-1)
    with pytest.raises(UsageError, match="sample"):
        evaluate(records, records, sample=0)
    nobody = evaluated.records([evaluated.Person([])])
    with pytest.raises(SourceError, match="synthetic records have no patient with an encounter"):
        evaluate(records, nobody)


def test_a_sample_is_at_most_so_many_patients(evaluated: ModuleType) -> None:
    records = evaluated.population(1, 30)
    report = evaluate(records, records, metrics=["person"], sample=12, bootstrap=0)
    assert report.patients == {"real": 12, "synthetic": 12}
    assert report["person.age.ks"].value != 0.0  # the two samples are drawn independently


def test_without_scikit_learn_only_the_metrics_that_need_it_are_refused(
    evaluated: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise ImportError(name)

    records = evaluated.population(1, 5)
    monkeypatch.setattr(classifier, "import_module", refuse)
    assert evaluate(records, records, metrics=["person"], bootstrap=0).results
    for name in ("utility", "detection"):
        with pytest.raises(MissingExtraError, match="ehrsynth\\[evaluate\\]"):
            evaluate(records, records, metrics=[name])


def test_hand_made_records_of_every_table_are_compared(small_records: Records) -> None:
    report = evaluate(small_records, small_records, bootstrap=0)
    for result in report.results:
        if result.value is not None and result.group not in ("subgroups", "detection"):
            assert result.value == (1.0 if result.better == "higher" else 0.0), result.name


def test_too_many_pairs_are_counted_among_fewer_codes(evaluated: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    visit = evaluated.Visit(codes=["A09", "B02.9", "C50.919", "D64.9", "E78.5", "F32.A", "G43.909", "H40.9"])
    records = evaluated.records([evaluated.Person([visit]) for _ in range(10)])
    whole = evaluate(records, records, metrics=["codes"], bootstrap=0)
    assert whole["codes.condition.same_visit_pairs.r2"].note == "28 keys"
    monkeypatch.setattr(codes, "MOST_PAIRS", 100)
    report = evaluate(records, records, metrics=["codes"], bootstrap=0)
    assert report["codes.condition.same_visit_pairs.r2"].note == "6 keys among the 4 commonest codes"
    assert report["codes.condition.same_record_pairs.r2"].note == "6 keys among the 4 commonest codes"
    assert report["codes.condition.unigram.r2"].note == "8 keys"
