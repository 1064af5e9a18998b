"""The tables of clinical knowledge behind `us_ambulatory`: codes exist, people can have them, keys and numbers hold."""

from __future__ import annotations

import csv
import functools
import gzip
import itertools
from collections import defaultdict
from pathlib import Path

import pytest

from ehrsynth import terminology
from ehrsynth.generation.life_course.requirements import STATES
from ehrsynth.terminology import CVX, ICD10CM, LOINC, RXNORM, library, ucum

CONTENT = Path(__file__).parents[2] / "domain_models" / "us_ambulatory" / "content"
FILES = sorted(path.stem for path in CONTENT.glob("*.csv"))
ANCHORS = (0, 2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90)
SEXES = ("f", "m")
VISITS = {"adult", "child", "pregnancy", "inpatient", "emergency"}
Row = dict[str, str]


@functools.cache
def rows(name: str) -> list[Row]:
    with (CONTENT / f"{name}.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def keys(name: str) -> set[str]:
    return {row["key"] for row in rows(name)}


def every_key() -> set[str]:
    return keys("chronic") | keys("acute")


def tables_with(column: str) -> list[str]:
    return [name for name in FILES if column in rows(name)[0]]


def test_the_tables_are_all_there() -> None:
    assert set(FILES) == {
        *("chronic", "chronic_codes", "comorbidity", "acute", "acute_codes", "treatments", "monitoring", "labs"),
        *("lab_effects", "procedures", "immunizations", "allergies", "devices", "social", "mortality_causes"),
        *("scales", "visits", "titration", "pregnancy"),
    }
    assert len(rows("chronic")) >= 150
    assert len(rows("acute")) >= 200


@pytest.mark.parametrize("name", FILES)
def test_every_row_says_where_it_comes_from(name: str) -> None:
    assert list(rows(name)[0])[-1] == "source"
    assert [row for row in rows(name) if len(row["source"]) < 4] == []
    assert [row for row in rows(name) if None in row or None in row.values()] == []


@pytest.mark.parametrize("name", ["chronic", "acute"])
def test_a_key_comes_once(name: str) -> None:
    assert len(keys(name)) == len(rows(name))
    assert not keys("chronic") & keys("acute")


@pytest.mark.parametrize("name", tables_with("age_min"))
def test_ages_and_sexes_are_ages_and_sexes(name: str) -> None:
    for row in rows(name):
        assert 0 <= float(row["age_min"]) < float(row["age_max"]) <= 120, row
        assert row.get("sex", "any") in {"any", "female", "male"}, row


def test_codes_are_billable_and_many() -> None:
    system = library.code_system(ICD10CM)
    found = {row["code"] for name in ("chronic_codes", "acute_codes", "mortality_causes") for row in rows(name)}
    billable = dict(zip(sorted(found), system.column("billable", sorted(found)), strict=True))
    assert [code for code, is_billable in billable.items() if is_billable is not True] == []
    assert len({row["code"] for name in ("chronic_codes", "acute_codes") for row in rows(name)}) >= 1800


def test_codes_of_injuries_are_of_the_first_encounter() -> None:
    bad = [
        row["code"]
        for row in rows("acute_codes")
        if row["code"][0] in "ST" and len(row["code"].replace(".", "")) == 7 and row["code"][-1] not in "AB"
    ]
    assert bad == []


@pytest.mark.parametrize("name", ["chronic_codes", "acute_codes"])
def test_nobody_gets_a_code_that_cannot_befall_them(name: str) -> None:
    codes = sorted({row["code"] for row in rows(name)})
    sex, low, high = terminology.limits(ICD10CM, codes)
    limits = dict(zip(codes, zip(sex, low, high, strict=True), strict=True))
    for row in rows(name):
        only, youngest, oldest = limits[row["code"]]
        assert only == 0 or row["sex"] == ("", "female", "male")[only], row
        assert float(row["age_min"]) >= youngest, row
        assert float(row["age_max"]) <= oldest, row


@pytest.mark.parametrize("name", ["chronic", "acute"])
def test_whoever_can_have_a_condition_has_a_code_for_it(name: str) -> None:
    codes: dict[str, list[Row]] = defaultdict(list)
    for row in rows(f"{name}_codes"):
        assert float(row["weight"]) > 0
        codes[row["key"]].append(row)
    assert set(codes) == keys(name)
    for row in rows(name):
        for letter, sex in zip(SEXES, ("female", "male"), strict=True):
            for age in ANCHORS:
                if float(row[f"{letter}{age}"]) > 0:
                    assert any(
                        code["sex"] in {"any", sex} and float(code["age_min"]) <= age < float(code["age_max"])
                        for code in codes[row["key"]]
                    ), (row["key"], sex, age)


def test_prevalences_and_rates_are_in_range() -> None:
    for name, highest in (("chronic", 100.0), ("acute", 1000.0)):
        for row in rows(name):
            values = {letter: [float(row[f"{letter}{age}"]) for age in ANCHORS] for letter in SEXES}
            assert all(0 <= value <= highest for letter in SEXES for value in values[letter]), row["key"]
            assert row["sex"] != "female" or not any(values["m"]), row["key"]
            assert row["sex"] != "male" or not any(values["f"]), row["key"]
            assert any(values["f"] + values["m"]) or row.get("rate_with"), row["key"]
    for row in rows("chronic"):
        assert (row["lifelong"], bool(row["mean_years"])) in {("1", False), ("0", True)}, row["key"]
        assert float(row["relative_mortality"]) >= 1
    for row in rows("acute"):
        assert abs(sum(float(row[place]) for place in ("amb", "urgent", "emer", "imp")) - 100) < 0.5, row["key"]
        assert row["season"] in {"0", "winter", "summer"}
        assert bool(row["requires"]) == bool(row["rate_ratio"] or row["rate_with"]), row["key"]


def test_nothing_is_older_than_it_can_be() -> None:
    (covid,) = [row for row in rows("acute") if row["key"] == "covid"]
    assert covid["from_year"] == "2020"
    assert {row["code"] for row in rows("acute_codes") if row["from_year"]} >= {"U07.1", "J12.82", "Z20.822"}
    newborn = [row for row in rows("acute") if row["first_days"]]
    assert newborn
    assert all(0 < float(row["first_days"]) <= 28 and row["group"] == "newborn" for row in newborn)


def test_what_a_code_asks_for_is_known() -> None:
    known = keys("chronic") | set(STATES)
    for name in ("chronic_codes", "acute_codes", "pregnancy"):
        asked = {one.removeprefix("!") for row in rows(name) for word in row["with"].split() for one in word.split("|")}
        assert sorted(asked - known) == []
    assert {row["past"] for row in rows("chronic")} <= {"", "none", *keys("chronic")}


def test_codes_of_pregnancy_are_billable_and_of_women() -> None:
    codes = [row["code"] for row in rows("pregnancy")]
    assert len(set(codes)) == len(codes)
    assert all(library.code_system(ICD10CM).column("billable", codes))
    assert set(terminology.limits(ICD10CM, codes)[0]) == {1}
    for row in rows("pregnancy"):
        assert 0 <= float(row["week_from"]) < float(row["week_to"]) <= 60, row
        assert 0 < float(row["percent"]) <= 100
        assert row["mode"] in {"any", "vaginal", "cesarean"}


def test_first_doses_are_drugs_of_rxnorm_of_known_drugs() -> None:
    codes = [row["start_rxnorm"] for row in rows("titration")]
    assert {row["rxnorm"] for row in rows("titration")} <= {row["rxnorm"] for row in rows("treatments")}
    assert len({row["rxnorm"] for row in rows("titration")}) == len(codes)
    shown = terminology.displays(RXNORM, codes)
    assert [row["start_display"] for row in rows("titration")] == list(shown)
    for row in rows("titration"):
        # Either less of it, or half of the same.
        assert (row["rxnorm"] == row["start_rxnorm"]) == (row["start_dose"] == "0.5"), row


def test_administrative_codes_are_few() -> None:
    """By weight within their kinds and by rate between them, Z codes are a small part of what brings people to care."""
    rate = {row["key"]: sum(float(row[f"{x}{age}"]) for x in SEXES for age in ANCHORS) for row in rows("acute")}
    total: dict[str, float] = defaultdict(float)
    for row in rows("acute_codes"):
        total[row["key"]] += float(row["weight"])
    z = sum(
        rate[row["key"]] * float(row["weight"]) / total[row["key"]]
        for row in rows("acute_codes")
        if row["code"][0] == "Z"
    )
    assert z < 0.05 * sum(rate.values())


@pytest.mark.parametrize(
    ("name", "column", "more"),
    [
        ("comorbidity", "a", frozenset()),
        ("comorbidity", "b", frozenset()),
        ("acute", "requires", frozenset()),
        ("treatments", "key", frozenset()),
        ("monitoring", "key", VISITS),
        ("procedures", "trigger", {"screening", "pregnancy", "newborn"}),
        ("procedures", "complication_key", frozenset()),
        ("devices", "key", frozenset()),
        ("mortality_causes", "key", frozenset()),
    ],
)
def test_keys_resolve(name: str, column: str, more: frozenset[str]) -> None:
    known = every_key() | more | {""}
    assert sorted({row[column] for row in rows(name)} - known) == []


def test_pairs_come_once() -> None:
    pairs = [frozenset((row["a"], row["b"])) for row in rows("comorbidity")]
    assert len(set(pairs)) == len(pairs)
    assert all(len(pair) == 2 for pair in pairs)
    assert all(float(row["odds_ratio"]) > 0 for row in rows("comorbidity"))


def test_effects_are_of_known_things_on_known_values() -> None:
    treatments = {f"rx:{row['group']}" for row in rows("treatments")}
    values = {row["loinc"] for row in rows("labs")}
    assert sorted({row["key"] for row in rows("lab_effects")} - every_key() - treatments) == []
    assert sorted({row["loinc"] for row in rows("lab_effects")} - values) == []
    assert all(float(row["sd_factor"]) > 0 for row in rows("lab_effects"))
    assert sorted({row["panel"] for row in rows("monitoring")} - {row["panel"] for row in rows("labs")}) == []


def test_laboratory_values_have_codes_units_and_sense() -> None:
    known = set(library.code_system(LOINC).codes["code"].to_pylist())
    for row in rows("labs"):
        assert row["loinc"] in known, row["loinc"]
        assert row["panel_loinc"] in known | {""}, row["panel_loinc"]
        assert ucum.why_not(row["unit"]) == "", row
        assert row["skew"] in {"normal", "lognormal"}
        assert float(row["floor"]) <= float(row["mean"]) <= float(row["ceiling"]), row
        assert float(row["sd"]) > 0
        assert 0 <= float(row["person_share"]) <= 1
        if row["low"]:
            assert float(row["low"]) <= float(row["high"]), row


def test_scales_read_every_value_of_what_the_same_panel_measures() -> None:
    panels: dict[str, set[str]] = defaultdict(set)
    for row in rows("labs"):
        panels[row["loinc"]].add(row["panel"])
    grades: dict[str, list[Row]] = defaultdict(list)
    for row in rows("scales"):
        grades[row["loinc"]].append(row)
        assert panels[row["loinc"]], row
        assert not row["of"] or panels[row["loinc"]] <= panels[row["of"]], row
        assert row["interpretation"] in {"N", "A"}
        assert row["answer_display"]
        assert bool(row["answer_system"]) == bool(row["answer_code"])
        if row["answer_code"]:
            assert terminology.display(row["answer_system"], row["answer_code"]) == row["answer_display"]
    for code, found in grades.items():
        starts = [float(row["from"]) for row in found]
        floors = [float(row["floor"]) for row in rows("labs") if row["loinc"] == (found[0]["of"] or code)]
        assert starts == sorted(set(starts))
        assert starts[0] <= min(floors)
        assert {row["of"] for row in found} == {found[0]["of"]}


def test_reactions_are_findings_that_we_know() -> None:
    for row in rows("allergies"):
        assert row["reaction_system"] == "http://snomed.info/sct"
        assert terminology.display(row["reaction_system"], row["reaction_code"]) == row["reaction_display"]


def test_ages_of_a_laboratory_value_do_not_overlap() -> None:
    bands: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows("labs"):
        for sex in ("female", "male") if row["sex"] == "any" else (row["sex"],):
            bands[row["loinc"], row["panel"], sex].append((float(row["age_min"]), float(row["age_max"])))
    for key, found in bands.items():
        found.sort()
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(found)), key


def test_drugs_are_clinical_drugs_of_rxnorm() -> None:
    codes = sorted({row["rxnorm"] for row in rows("treatments")})
    names = dict(zip(codes, terminology.displays(RXNORM, codes), strict=True))
    kinds = dict(zip(codes, library.code_system(RXNORM).column("term_type", codes), strict=True))
    for row in rows("treatments"):
        assert names[row["rxnorm"]] == row["display"], row
        assert kinds[row["rxnorm"]] in {"SCD", "SBD", "GPCK", "BPCK", None}, row
        assert ucum.why_not(row["dose_unit"]) == "", row
        assert row["sig"][0].isupper()
        assert float(row["dose_value"]) > 0
        assert float(row["quantity"]) > 0
        assert int(row["refills"]) >= 0


def test_at_most_everybody_gets_one_of_a_group() -> None:
    for age in ANCHORS:
        for sex in ("female", "male"):
            share: dict[tuple[str, str], float] = defaultdict(float)
            for row in rows("treatments"):
                if row["sex"] in {"any", sex} and float(row["age_min"]) <= age < float(row["age_max"]):
                    share[row["key"], row["group"]] += float(row["share"])
            assert [key for key, value in share.items() if value > 100] == []


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("treatments", "share"),
        ("monitoring", "share"),
        ("procedures", "share"),
        ("immunizations", "coverage"),
        ("allergies", "percent"),
        ("devices", "share"),
        ("social", "percent"),
    ],
)
def test_shares_are_percent(name: str, column: str) -> None:
    assert [row for row in rows(name) if not 0 < float(row[column]) <= 100] == []


def test_vaccines_are_of_cvx() -> None:
    codes = sorted({row["cvx"] for row in rows("immunizations")})
    names = dict(zip(codes, terminology.displays(CVX, codes), strict=True))
    for row in rows("immunizations"):
        assert names[row["cvx"]] == row["display"]
        assert float(row["age_months_due"]) < float(row["age_months_latest"])
        assert not row["to_year"] or int(row["from_year"]) <= int(row["to_year"])


def test_procedures_are_never_cpt() -> None:
    systems = {row["system"] for row in rows("procedures")}
    assert systems == {
        "http://www.cms.gov/Medicare/Coding/ICD10",
        "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
    }
    for row in rows("procedures"):
        assert len(row["code"]) == (7 if row["system"].endswith("ICD10") else 5), row
        assert not row["code"].isdigit(), row


def test_answers_add_up() -> None:
    for age in (20, 40, 60, 80):
        for sex in ("female", "male"):
            total: dict[str, float] = defaultdict(float)
            for row in rows("social"):
                if row["sex"] in {"any", sex} and float(row["age_min"]) <= age < float(row["age_max"]):
                    total[row["kind"]] += float(row["percent"])
            assert [kind for kind, value in total.items() if value > 100.5] == []
            assert total["smoking"] == pytest.approx(100, abs=0.5)


def test_prevalence_agrees_with_nhanes(shared: Path) -> None:
    """Bands of the anchors against the weighted prevalence of `stats`, within 10 % or 1.96 standard errors."""
    with gzip.open(shared / "vocab" / "us_population_age_sex_2024.csv.gz", "rt") as handle:
        people = {(row["SEX"], int(row["AGE"])): float(row["POPESTIMATE2024"]) for row in csv.DictReader(handle)}
    with (shared / "data" / "stats" / "nhanes2017_2020_prevalence_age_sex.csv").open() as handle:
        stats = list(csv.DictReader(handle))
    conditions = {row["key"]: row for row in rows("chronic")}
    pairs = {
        "htn_aware": ["hypertension"],
        "cc_diabetes": ["diabetes_type1", "diabetes_type2"],
        "cc_ckd": ["ckd"],
        "cc_cvd_mi": ["myocardial_infarction_old"],
        "cc_cvd_chd": ["coronary_disease"],
        "cc_cvd_hf": ["heart_failure"],
        "cc_cvd_stroke": ["stroke_history"],
    }
    off = []
    for entry in stats:
        if entry["variable"] not in pairs:
            continue
        number, letter = ("2", "f") if entry["sex"] == "Women" else ("1", "m")
        ages = range(80, 101) if entry["age"] == "80+" else range(int(entry["age"][:2]), int(entry["age"][3:]) + 1)
        weights = [people[number, age] for age in ages]
        ours = 0.0
        for key in pairs[entry["variable"]]:
            row = conditions[key]
            values = [_between(row, letter, age + 0.5) for age in ages]
            ours += sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights) / 100
        theirs, n = float(entry["weighted_prevalence"]), float(entry["n"])
        # A survey's standard error is about 1.4 times that of a simple random sample (design effect 2).
        bound = max(0.1 * theirs, 1.96 * 1.4 * (max(theirs, 1 / n) * (1 - theirs) / n) ** 0.5)
        if abs(ours - theirs) > bound:
            off.append((entry["variable"], entry["sex"], entry["age"], round(ours, 4), round(theirs, 4)))
    assert off == []


def _between(row: Row, letter: str, age: float) -> float:
    for left, right in itertools.pairwise(ANCHORS):
        if age <= right:
            low, high = float(row[f"{letter}{left}"]), float(row[f"{letter}{right}"])
            return low + (high - low) * (age - left) / (right - left)
    return float(row[f"{letter}{ANCHORS[-1]}"])
