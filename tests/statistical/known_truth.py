"""A hospital whose truth is written down: a small network of the person and a hidden Markov model of the visits.

It makes records of which every probability is known, so that what a learner recovers can be judged against the truth
and not only against another sample. About 1,000 patients make 7,500 encounters and 6,000 conditions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from ehrsynth.provenance import Provenance
from ehrsynth.records import Records

__all__ = ["ACUTE", "CHRONIC", "CLASSES", "FEMALE_ONLY", "MALE_ONLY", "RECURRENCE", "TRANSITION", "Truth", "simulate"]

ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
LOINC = "http://loinc.org"

CLASSES = ("AMB", "EMER", "IMP")
# The hidden state is how well the person is: stable, worse, in hospital. It gives the class of the encounter.
EMISSION = np.array([[0.93, 0.05, 0.02], [0.35, 0.55, 0.10], [0.05, 0.10, 0.85]])
TRANSITION = np.array([[0.86, 0.10, 0.04], [0.45, 0.35, 0.20], [0.40, 0.20, 0.40]])
INITIAL = {"old": np.array([0.6, 0.25, 0.15]), "young": np.array([0.85, 0.12, 0.03])}
GOES_ON = 0.865
GAP_MEAN_DAYS = np.array([120.0, 25.0, 18.0])

CHRONIC = ("I10", "E11.9", "I50.9", "J44.9", "N18.9")
ACUTE = ("J06.9", "R07.9", "S93.401A", "N39.0", "K52.9", "R10.9", "M54.50", "J18.9", "A41.9", "R55")
MALE_ONLY = ("N40.0", "C61")
FEMALE_ONLY = ("N95.1", "O80")
RECURRENCE = 0.84
"""P(a chronic condition is coded again at the next visit), whatever the state."""

CHRONIC_ONSET = {"old": np.array([0.030, 0.05, 0.09]), "young": np.array([0.004, 0.01, 0.02])}
ACUTE_RATE = np.array([[0.025] * 5 + [0.03] * 2 + [0.004] * 3, [0.05] * 7 + [0.03] * 3, [0.02] * 7 + [0.16] * 3])
DRUG_OF = {"I10": "314076", "E11.9": "860975"}
GLUCOSE = "2345-7"
A1C = "4548-4"


@dataclass
class Truth:
    """The drawn records and the hidden states behind them."""

    records: Records
    states: list[np.ndarray] = field(default_factory=list)


def simulate(n_patients: int = 1000, seed: int = 1) -> Truth:
    """Draw `n_patients` people and all that happens to them."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[dict[str, object]]] = {
        name: [] for name in ("patient", "encounter", "condition", "medication_request", "observation")
    }
    truth = Truth(records=None)  # type: ignore[arg-type]
    for number in range(n_patients):
        truth.states.append(_person(number, rng, rows))
    tables = {name: pa.Table.from_pylist(found) for name, found in rows.items()}
    truth.records = Records.from_tables(tables, provenance=Provenance(source="known truth", time_basis="calendar"))
    return truth


def _person(number: int, rng: np.random.Generator, rows: dict[str, list[dict[str, object]]]) -> np.ndarray:
    sex = "female" if rng.random() < 0.53 else "male"
    old = bool(rng.random() < 0.6)
    age = float(rng.uniform(50, 88) if old else rng.uniform(18, 50))
    band = "old" if old else "young"
    # Race depends on age, ethnicity on race, marital status on age and sex: correlated demographics.
    race = str(rng.choice(["2106-3", "2054-5", "2028-9"], p=[0.8, 0.15, 0.05] if old else [0.6, 0.25, 0.15]))
    hispanic = bool(rng.random() < (0.25 if race == "2106-3" and not old else 0.05))
    married = rng.random() < (0.6 if old else 0.35)
    day = date(2012, 1, 1) + timedelta(days=int(rng.integers(0, 1500)))
    patient = f"p{number}"
    state = int(rng.choice(3, p=INITIAL[band]))
    states, had, personal = [], set(), float(rng.normal(0, 1))
    last = day
    birth = day - timedelta(days=int(age * 365.2425))
    visit = 0
    while True:
        states.append(state)
        encounter = f"{patient}-{visit}"
        kind = CLASSES[int(rng.choice(3, p=EMISSION[state]))]
        minute = int(rng.integers(8 * 60, 17 * 60)) if kind == "AMB" else int(rng.integers(0, 24 * 60))
        stay = {"AMB": 30, "EMER": int(rng.integers(60, 600)), "IMP": 1440 * int(rng.integers(1, 9))}[kind]
        start = np.datetime64(day, "s") + np.timedelta64(minute * 60, "s")
        end = start + np.timedelta64(stay * 60, "s")
        last = end.astype("datetime64[D]").item()
        rows["encounter"].append(
            {
                "encounter_id": encounter,
                "patient_id": patient,
                "sequence": visit + 1,
                "start_datetime": start.item(),
                "end_datetime": end.item(),
                "time_precision": "minute",
                "status": "finished",
                "encounter_class": kind,
            }
        )
        years = age + (day - (birth + timedelta(days=int(age * 365.2425)))).days / 365.2425
        codes = _codes(rng, state, band, sex, years, had)
        _write(rows, rng, patient, encounter, day, codes, state, personal)
        visit += 1
        if rng.random() > GOES_ON or visit >= 60:
            break
        day = max(day + timedelta(days=1 + int(rng.exponential(GAP_MEAN_DAYS[state]))), last + timedelta(days=1))
        state = int(rng.choice(3, p=TRANSITION[state]))
    rows["patient"].append(
        {
            "patient_id": patient,
            "birth_date": birth,
            "sex": sex,
            "race_code": race,
            "ethnicity_code": "2135-2" if hispanic else "2186-5",
            "marital_status_code": "M" if married else ("S" if rng.random() < 0.8 else None),
            "record_start_date": birth + timedelta(days=int(age * 365.2425)),
            "record_end_date": date(2024, 1, 1),
        }
    )
    return np.array(states)


def _codes(rng: np.random.Generator, state: int, band: str, sex: str, years: float, had: set[str]) -> list[str]:
    codes = []
    for code in CHRONIC:
        if rng.random() < (RECURRENCE if code in had else CHRONIC_ONSET[band][state]):
            codes.append(code)
            had.add(code)
    codes += [code for code, rate in zip(ACUTE, ACUTE_RATE[state], strict=True) if rng.random() < rate]
    if sex == "male" and years >= 50:
        codes += [code for code in MALE_ONLY if rng.random() < 0.04]
    if sex == "female" and years >= 45 and rng.random() < 0.05:
        codes.append("N95.1")
    if sex == "female" and years < 45 and rng.random() < 0.04:
        codes.append("O80")
    return codes


def _write(
    rows: dict[str, list[dict[str, object]]],
    rng: np.random.Generator,
    patient: str,
    encounter: str,
    day: date,
    codes: list[str],
    state: int,
    personal: float,
) -> None:
    for code in codes:
        rows["condition"].append(
            {
                "condition_id": f"c{len(rows['condition'])}",
                "patient_id": patient,
                "encounter_id": encounter,
                "category": "encounter-diagnosis",
                "code_system": ICD10,
                "code": code,
                "display": None,
                "clinical_status": "active" if code in CHRONIC else "resolved",
                "onset_date": day,
            }
        )
        if code in DRUG_OF and rng.random() < 0.8:
            rows["medication_request"].append(
                {
                    "medication_request_id": f"m{len(rows['medication_request'])}",
                    "patient_id": patient,
                    "encounter_id": encounter,
                    "code_system": RXNORM,
                    "code": DRUG_OF[code],
                    "status": "active",
                    "intent": "order",
                    "authored_datetime": np.datetime64(day, "s").item(),
                    "dose_value": float(rng.choice([10.0, 20.0])),
                    "dose_unit": "mg",
                }
            )
    if rng.random() < (0.2, 0.4, 0.9)[state]:
        # Glucose and A1c: r = .7 within the visit, half of the variance the person's own, higher in hospital.
        common, own = rng.normal(), rng.normal(size=2)
        score = 0.7 * personal + 0.5 * common + 0.3 * own + (0.0, 0.3, 0.8)[state]
        for code, unit, value in (
            (GLUCOSE, "mg/dL", round(float(110 + 25 * score[0]))),
            (A1C, "%", round(float(6.0 + 0.8 * score[1]), 1)),
        ):
            rows["observation"].append(
                {
                    "observation_id": f"o{len(rows['observation'])}",
                    "patient_id": patient,
                    "encounter_id": encounter,
                    "category": "laboratory",
                    "status": "final",
                    "code_system": LOINC,
                    "code": code,
                    "effective_datetime": np.datetime64(day, "s").item(),
                    "value_number": value,
                    "value_unit": unit,
                }
            )
