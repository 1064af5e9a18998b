"""Rebuilds the model `cardiometabolic_cohort` from its sources, byte for byte.

    python domain_models/cardiometabolic_cohort/recipe.py SOURCES OUTPUT

SOURCES holds ``nafld/nafld{1,2,3}.csv.gz`` (R package survival) and ``nhanes/nhanes_adults_*.parquet`` (R package
nhanesA/cardioStatsUSA extract of public NCHS data). The README beside this file tells what is taken from which and why.
Needs the ``learn`` extra. Rows of the sources are read here and nowhere stored.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.recipe import run
from ehrsynth.model import PatientModel
from ehrsynth.provenance import Provenance
from ehrsynth.randomness import stream
from ehrsynth.records import Records

SEED = 20260101
# Day zero of the cohort's day offsets is set to one nominal day; only intervals mean anything.
INDEX_DAY = np.datetime64("2006-07-01")
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SNOMED = "http://snomed.info/sct"

CONDITIONS = {
    "htn": ("I10", "Essential (primary) hypertension"),
    "dyslipidemia": ("E78.5", "Hyperlipidemia, unspecified"),
    "diabetes": ("E11.9", "Type 2 diabetes mellitus without complications"),
    "ang/isc": ("I25.9", "Chronic ischemic heart disease, unspecified"),
    "MI": ("I21.9", "Acute myocardial infarction, unspecified"),
    "stroke": ("I63.9", "Cerebral infarction, unspecified"),
    "heart failure": ("I50.9", "Heart failure, unspecified"),
    "afib": ("I48.91", "Unspecified atrial fibrillation"),
    "cardiac arrest": ("I46.9", "Cardiac arrest, cause unspecified"),
    "nafld": ("K76.0", "Fatty (change of) liver, not elsewhere classified"),
}
# Assumption: these are treated in hospital; the cohort does not say where a day's events took place.
INPATIENT = ("MI", "stroke", "cardiac arrest")
MEASURED = {
    # name: (LOINC, display, UCUM unit, category, lowest, highest value taken as real)
    "hdl": ("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", "mg/dL", "laboratory", 5, 200),
    "sbp": ("8480-6", "Systolic blood pressure", "mm[Hg]", "vital-signs", 60, 280),
    "dbp": ("8462-4", "Diastolic blood pressure", "mm[Hg]", "vital-signs", 20, 180),
    "weight": ("29463-7", "Body weight", "kg", "vital-signs", 30, 300),
    "height": ("8302-2", "Body height", "cm", "vital-signs", 120, 220),
    "bmi": ("39156-5", "Body mass index (BMI) [Ratio]", "kg/m2", "vital-signs", 12, 90),
}
SMOKING = {0.0: ("266919005", "Never smoked tobacco"), 1.0: ("77176002", "Smoker")}
DRUGS = {
    # column of the NHANES extract: (condition it is for, RxNorm code, display of the class's commonest product)
    "bp_med_ace": ("htn", "314076", "lisinopril 10 MG Oral Tablet"),
    "bp_med_angioten": ("htn", "979485", "losartan potassium 25 MG Oral Tablet"),
    "bp_med_beta": ("htn", "866924", "metoprolol tartrate 25 MG Oral Tablet"),
    "bp_med_ccb": ("htn", "197361", "amlodipine 5 MG Oral Tablet"),
    "bp_med_diur_thz": ("htn", "310798", "hydrochlorothiazide 25 MG Oral Tablet"),
    "chol_med_statin": ("dyslipidemia", "617310", "atorvastatin 20 MG Oral Tablet"),
}
FEWEST_DONORS = 20
AGES = (18, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80)
RACE = {
    "Non-Hispanic White": ("2106-3", "2186-5"),
    "Non-Hispanic Black": ("2054-5", "2186-5"),
    "Non-Hispanic Asian": ("2028-9", "2186-5"),
    "Hispanic": (None, "2135-2"),
    "Other": ("2131-1", "2186-5"),
}


def people(folder: Path) -> pd.DataFrame:
    """Return one row per person of the cohort, by id."""
    frame = pd.read_csv(folder / "nafld1.csv.gz", index_col=0).set_index("id").sort_index()
    return frame.assign(sex=np.where(frame["male"] == 1, "male", "female"))


def measurements(folder: Path, person: pd.DataFrame, donors: pd.DataFrame) -> pd.DataFrame:
    """Return (id, days, name, value): the cohort's own numbers, and a diastolic pressure beside each systolic one."""
    dated = pd.read_csv(folder / "nafld2.csv.gz", index_col=0).rename(columns={"test": "name"})
    # `chol` repeats the values of `hdl`, and `dbp` those of `sbp`, row by row: only one of each pair is what it says it
    # is. Means (51 mg/dL, 137 mm Hg) tell which. `fib4` has no LOINC code in use here.
    dated = dated[dated["name"].isin(["hdl", "sbp", "smoke"])]
    index = person[["weight", "height", "bmi"]].melt(ignore_index=False, var_name="name").reset_index().assign(days=0)
    whole = pd.concat([dated, index[dated.columns]]).dropna().drop_duplicates(["id", "days", "name"])
    systolic = whole[whole["name"] == "sbp"]
    whole = pd.concat([whole, diastolic(systolic, person, donors)])
    ranges = pd.DataFrame({name: row[4:6] for name, row in MEASURED.items()}, index=["low", "high"]).T
    limits = whole.join(ranges, on="name")
    inside = (limits["value"] >= limits["low"]) & (limits["value"] <= limits["high"])
    return whole[inside | (whole["name"] == "smoke")].sort_values(["id", "days", "name"], ignore_index=True)


def diastolic(systolic: pd.DataFrame, person: pd.DataFrame, donors: pd.DataFrame) -> pd.DataFrame:
    """Return a diastolic pressure for each systolic one, from a survey participant alike in sex, age and systolic."""
    rng = stream(SEED, "recipe.diastolic")
    made = systolic.copy()
    age = person["age"].reindex(systolic["id"]).to_numpy() + systolic["days"].to_numpy() / 365.25
    sex = person["sex"].reindex(systolic["id"]).to_numpy()
    pool = donors.dropna(subset=["bp_sys_mean", "bp_dia_mean"])
    for one in ("female", "male"):
        of_sex = pool[pool["sex"] == one]
        mine = sex == one
        cells = _cell(age[mine], systolic["value"].to_numpy()[mine])
        made.loc[mine, "value"] = _draw(
            cells,
            _cell(of_sex["demo_age_years"].to_numpy(), of_sex["bp_sys_mean"].to_numpy()),
            of_sex,
            "bp_dia_mean",
            rng,
        )
    return made.assign(name="dbp", value=made["value"].round())


def _cell(age: np.ndarray, systolic: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(age, 20, 84).astype(int) // 10 * 1000 + np.clip(systolic, 90, 199).astype(int) // 10)


def _draw(
    cells: np.ndarray, pool_cells: np.ndarray, pool: pd.DataFrame, column: str, rng: np.random.Generator
) -> np.ndarray:
    """Draw `column` of a survey-weighted member of the pool in each cell; NaN where the pool has none."""
    found = np.full(len(cells), np.nan)
    weight, values = pool["svy_weight_mec"].to_numpy(), pool[column].to_numpy()
    for cell in np.unique(cells):
        members = np.flatnonzero(pool_cells == cell)
        if len(members):
            mine = np.flatnonzero(cells == cell)
            chosen = rng.choice(members, size=len(mine), p=weight[members] / weight[members].sum())
            found[mine] = values[chosen]
    return found


def match(person: pd.DataFrame, events: pd.DataFrame, donors: pd.DataFrame) -> pd.DataFrame:
    """Return for each person a survey participant alike in sex, age band, hypertension, diabetes and lipid disorder.

    Statistical matching (random hot deck within classes, D'Orazio et al. 2006): what the cohort lacks (race, drug
    classes) comes from one and the same participant, so that it hangs together; it is independent of the rest given
    the classes.
    """
    rng = stream(SEED, "recipe.match")
    has = {
        name: person.index.isin(events.loc[events["event"] == name, "id"])
        for name in ("htn", "diabetes", "dyslipidemia")
    }
    keys = pd.DataFrame(
        {"sex": person["sex"].to_numpy(), "band": np.clip(person["age"], 20, 79).to_numpy() // 10, **has}
    )
    pool = donors.assign(
        band=np.clip(donors["demo_age_years"], 20, 79) // 10,
        htn=donors["htn_aware"].eq("Yes"),
        diabetes=donors["cc_diabetes"].eq("Yes"),
        dyslipidemia=donors["chol_total_gteq_200"].eq("Yes") | donors["chol_med_use"].eq("Yes"),
    )
    columns = ["sex", "band", "htn", "diabetes", "dyslipidemia"]
    chosen = np.full(len(keys), -1)
    for key, frame in keys.groupby(columns, sort=True):
        # Where the survey has few participants of a class, the classes are given up from the last to the first.
        for depth in range(len(columns), 1, -1):
            candidates = pool[(pool[columns[:depth]] == list(key[:depth])).all(axis=1)]
            if len(candidates) >= FEWEST_DONORS:
                break
        weight = candidates["svy_weight_mec"].to_numpy()
        positions = pool.index.get_indexer(candidates.index)
        chosen[frame.index] = rng.choice(positions, size=len(frame), p=weight / weight.sum())
    return pool.iloc[chosen].set_index(person.index)


def records(sources: Path) -> Records:
    """Return the cohort as canonical records, time as offsets from a nominal day."""
    person = people(sources / "nafld")
    events = pd.read_csv(sources / "nafld" / "nafld3.csv.gz", index_col=0).drop_duplicates(["id", "days", "event"])
    survey = pd.read_parquet(next((sources / "nhanes").glob("nhanes_adults_*.parquet")))
    donors = survey[(survey["svy_weight_mec"] > 0) & (survey["svy_year"].astype(str) >= "2009")]
    donors = donors.assign(sex=np.where(donors["demo_gender"] == "Men", "male", "female")).reset_index(drop=True)
    donor = match(person, events, donors)
    measured = measurements(sources / "nafld", person, donors)
    days = pd.concat([measured[["id", "days"]], events[["id", "days"]]]).drop_duplicates().sort_values(["id", "days"])
    days = days[days["days"] / 365.25 + person["age"].reindex(days["id"]).to_numpy() >= 18]
    days["encounter_id"] = days["id"].astype(str) + ":" + days["days"].astype(str)
    days["sequence"] = days.groupby("id").cumcount() + 1
    hospital = (
        events.loc[events["event"].isin(INPATIENT), ["id", "days"]].drop_duplicates().assign(encounter_class="IMP")
    )
    days = days.merge(hospital, how="left", on=["id", "days"]).fillna({"encounter_class": "AMB"})
    person = person[person.index.isin(days["id"])]
    visit = days.set_index(["id", "days"])["encounter_id"]
    tables = {
        "patient": _patient(person, donor, days),
        "encounter": _encounter(days),
        "condition": _condition(events.join(visit, on=["id", "days"], how="inner")),
        "observation": _observation(measured.join(visit, on=["id", "days"], how="inner")),
        "medication_request": _medication(days, events, donor),
    }
    provenance = Provenance(
        source=(
            "NAFLD cohort of Olmsted County, Minnesota (nafld1-3 of the R package survival), "
            "statistically matched with NHANES 2009-2020"
        ),
        source_format="recipe",
        licence="LGPL (R package survival); NHANES: public, NCHS",
        time_basis="offset",
    )
    return Records.from_tables(tables, provenance=provenance)


def _date(days: pd.Series) -> np.ndarray:
    return INDEX_DAY + days.to_numpy().astype("timedelta64[D]")


def _patient(person: pd.DataFrame, donor: pd.DataFrame, days: pd.DataFrame) -> pa.Table:
    mine = donor.reindex(person.index)
    race = mine["demo_race"].astype(str).map(RACE)
    # Ages are completed years: half a year more on average; the birth date is known to the year only.
    birth = INDEX_DAY - np.round((person["age"].to_numpy() + 0.5) * 365.25).astype("timedelta64[D]")
    end = _date(person["futime"])
    first = _date(days.groupby("id")["days"].min().reindex(person.index))
    last = _date(days.groupby("id")["days"].max().reindex(person.index))
    end = np.maximum(end, last)
    died = person["status"].to_numpy() == 1
    return pa.table(
        {
            "patient_id": person.index.astype(str),
            "birth_date": birth.astype("datetime64[D]"),
            "birth_date_precision": ["day"] * len(person),
            "sex": person["sex"].to_numpy(dtype=str),
            "race_code": pa.array([pair[0] for pair in race], pa.string()),
            "ethnicity_code": pa.array([pair[1] for pair in race], pa.string()),
            "death_datetime": pa.array(end.astype("datetime64[s]"), mask=~died),
            "death_precision": pa.array(["day"] * len(person), pa.string(), mask=~died),
            "record_start_date": first,
            "record_end_date": end,
        }
    )


def _encounter(days: pd.DataFrame) -> pa.Table:
    return pa.table(
        {
            "encounter_id": days["encounter_id"].to_numpy(dtype=str),
            "patient_id": days["id"].astype(str).to_numpy(dtype=str),
            "sequence": days["sequence"].to_numpy(),
            "start_datetime": _date(days["days"]).astype("datetime64[s]"),
            "time_precision": ["day"] * len(days),
            "status": ["finished"] * len(days),
            "encounter_class": days["encounter_class"].to_numpy(dtype=str),
        }
    )


def _rows(frame: pd.DataFrame, table: str, codings: list[tuple[str, str, str]]) -> dict[str, object]:
    return {
        f"{table}_id": [f"{table}{i}" for i in range(len(frame))],
        "patient_id": frame["id"].astype(str).to_numpy(dtype=str),
        "encounter_id": frame["encounter_id"].to_numpy(dtype=str),
        "code_system": [coding[0] for coding in codings],
        "code": [coding[1] for coding in codings],
        "display": [coding[2] for coding in codings],
    }


def _condition(events: pd.DataFrame) -> pa.Table:
    events = events.sort_values(["id", "days", "event"])
    codings = [(ICD10CM, *CONDITIONS[name]) for name in events["event"]]
    day = _date(events["days"])
    return pa.table(
        {
            **_rows(events, "condition", codings),
            "category": [
                "encounter-diagnosis" if name in INPATIENT else "problem-list-item" for name in events["event"]
            ],
            "verification_status": ["confirmed"] * len(events),
            "onset_date": day,
            "recorded_date": day,
        }
    )


def _observation(measured: pd.DataFrame) -> pa.Table:
    smoking = (measured["name"] == "smoke").to_numpy()
    codings = [
        (LOINC, "72166-2", "Tobacco smoking status") if name == "smoke" else (LOINC, *MEASURED[name][:2])
        for name in measured["name"]
    ]
    answers = [
        SMOKING[value] if name == "smoke" else (None, None)
        for name, value in zip(measured["name"], measured["value"], strict=True)
    ]
    pressure = measured["name"].isin(["sbp", "dbp"]).to_numpy()
    return pa.table(
        {
            **_rows(measured, "observation", codings),
            "panel_id": pa.array([f"{e}:bp" for e in measured["encounter_id"]], pa.string(), mask=~pressure),
            "category": ["social-history" if name == "smoke" else MEASURED[name][3] for name in measured["name"]],
            "status": ["final"] * len(measured),
            "effective_datetime": _date(measured["days"]).astype("datetime64[s]"),
            "time_precision": ["day"] * len(measured),
            "value_number": pa.array(measured["value"].to_numpy(), mask=smoking),
            "value_unit": [None if name == "smoke" else MEASURED[name][2] for name in measured["name"]],
            "value_system": pa.array([SNOMED] * len(measured), pa.string(), mask=~smoking),
            "value_code": pa.array([answer[0] for answer in answers], pa.string()),
            "value_display": pa.array([answer[1] for answer in answers], pa.string()),
        }
    )


def _medication(days: pd.DataFrame, events: pd.DataFrame, donor: pd.DataFrame) -> pa.Table:
    """Return the drugs of the matched participant at every visit from the diagnosis they are for onwards."""
    parts = []
    for column, (condition, code, display) in DRUGS.items():
        onset = events[events["event"] == condition].groupby("id")["days"].min()
        takes = donor.index[donor[column].eq("Yes").to_numpy()]
        mine = days[days["id"].isin(takes)]
        since = onset.reindex(mine["id"]).to_numpy()
        parts.append(mine[mine["days"].to_numpy() >= since].assign(code=code, display=display))
    frame = pd.concat(parts).sort_values(["id", "days", "code"], ignore_index=True)
    codings = [(RXNORM, code, display) for code, display in zip(frame["code"], frame["display"], strict=True)]
    return pa.table(
        {
            **_rows(frame, "medication_request", codings),
            "status": ["active"] * len(frame),
            "intent": ["order"] * len(frame),
            "authored_datetime": _date(frame["days"]).astype("datetime64[s]"),
            "time_precision": ["day"] * len(frame),
        }
    )


def population_weights(learned: Records, sources: Path) -> np.ndarray:
    """Return how many adults of the United States each person stands for, by sex and age at the start; 1 at most."""
    survey = pd.read_parquet(next((sources / "nhanes").glob("nhanes_adults_*.parquet")))
    survey = survey[(survey["svy_weight_mec"] > 0) & (survey["svy_year"].astype(str) >= "2009")]
    women = survey["demo_gender"].ne("Men").to_numpy()
    nation = _cells(survey["demo_age_years"].to_numpy(), women, survey["svy_weight_mec"].to_numpy())
    people = learned["patient"].select(["patient_id", "sex", "birth_date"]).to_pandas()
    starts = learned["encounter"].select(["patient_id", "start_datetime"]).to_pandas()
    first = starts.groupby("patient_id", observed=True)["start_datetime"].min().reindex(people["patient_id"])
    age = (first.to_numpy() - pd.to_datetime(people["birth_date"]).to_numpy()) / np.timedelta64(1, "D") / 365.25
    women = people["sex"].eq("female").to_numpy()
    cohort = _cells(age, women, np.ones(len(people)))
    band = np.clip(np.searchsorted(AGES, age, side="right") - 1, 0, len(AGES) - 1)
    weight = (nation / np.maximum(cohort, 1e-9))[women.astype(int), band]
    # The few who would stand for many more than others stand for as many as the next.
    return np.asarray(np.minimum(weight / np.quantile(weight, 0.95), 1.0))


def _cells(age: np.ndarray, women: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the shares of men and women [2, bands]."""
    band = np.clip(np.searchsorted(AGES, age, side="right") - 1, 0, len(AGES) - 1)
    counts = np.bincount(women.astype(int) * len(AGES) + band, weights=weight, minlength=2 * len(AGES))
    return np.asarray(counts.reshape(2, -1) / counts.sum())


def build(sources: Path) -> PatientModel:
    """Return the model learned from the sources."""
    settings = LearningSettings(
        min_patients=10,
        states=16,
        classes=4,
        reference_date="2025-01-01",
        name="cardiometabolic_cohort",
        title="Adults of a US community, cardiometabolic disease over up to 20 years",
        description="See README.md beside the model.",
        licence="Apache-2.0",
    )
    learned = records(sources)
    return learn(learned, settings=settings, seed=SEED, weights=population_weights(learned, sources))


if __name__ == "__main__":
    run(build)
