"""A small hand-written patient model that uses every field of the contract, and its parts to vary in tests.

Two classes of three states; every family; codes of one sex and of some ages; death in and out of hospital; a panel of
blood pressure over a copula. Get it through the fixture ``models`` (``models.tiny_model()``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ehrsynth.model import (
    AttributeTable,
    Calendar,
    CodeFamily,
    Coding,
    Disclosure,
    Measurements,
    PatientModel,
    Strata,
    Trajectory,
)
from ehrsynth.probability.bayesnet import MISSING, BayesianNetwork, Variable
from ehrsynth.probability.histogram import Histogram
from ehrsynth.probability.quantiles import QuantileDistribution

ICD = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
LOINC = "http://loinc.org"
ICD_PCS = "http://www.cms.gov/Medicare/Coding/ICD10"
CVX = "http://hl7.org/fhir/sid/cvx"

N_CLASSES, N_STATES = 2, 3
Q = N_CLASSES * N_STATES
SEXES = ("male", "female")
AGE_EDGES = (0.0, 18.0, 50.0, 120.0)
R = len(SEXES) * (len(AGE_EDGES) - 1)
CLASSES = ("AMB", "EMER", "IMP")
E = len(CLASSES)


def histogram(*cells: tuple[int, int, int, float]) -> Histogram:
    """Return a histogram of (first, last + 1, coarse bin, weight) cells that touch each other."""
    first, stop, coarse, weight = zip(*cells, strict=True)
    assert first[1:] == stop[:-1]
    return Histogram(
        edges=np.array([*first, stop[-1]], dtype=np.int64),
        coarse=np.array(coarse, dtype=np.int64),
        weight=np.array(weight, dtype=np.float64),
    )


def person() -> BayesianNetwork:
    """Sex, age, race, ethnicity, marital status, language, state, payer and class; some of them missing."""
    sex = Variable(name="sex", states=SEXES)
    age = Variable(name="age_at_start", states=("0-1", "1-18", "18-50", "50-90"), edges=(0.0, 1.0, 18.0, 50.0, 90.0))
    race = Variable(name="race", states=("2106-3", "2054-5", MISSING))
    ethnicity = Variable(name="ethnicity", states=("2135-2", "2186-5", MISSING))
    marital = Variable(name="marital_status", states=("M", "S", MISSING))
    language = Variable(name="language", states=("en", "es"))
    state = Variable(name="state", states=("MA", "TX"))
    payer = Variable(name="payer", states=("1", "2", "5", MISSING))
    group = Variable(name="trajectory_class", states=("0", "1"))
    return BayesianNetwork(
        variables=(sex, age, race, ethnicity, marital, language, state, payer, group),
        parents=((), (), (), (2,), (1,), (3,), (), (1,), (0, 1)),
        tables=(
            np.array([0.45, 0.55]),
            np.array([0.1, 0.2, 0.4, 0.3]),
            np.array([0.7, 0.2, 0.1]),
            np.array([[0.1, 0.8, 0.1], [0.05, 0.9, 0.05], [0.2, 0.3, 0.5]]),
            np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.4, 0.1], [0.6, 0.2, 0.2]]),
            np.array([[0.4, 0.6], [0.95, 0.05], [0.9, 0.1]]),
            np.array([0.6, 0.4]),
            np.array([[0.0, 0.5, 0.4, 0.1], [0.0, 0.5, 0.4, 0.1], [0.05, 0.2, 0.65, 0.1], [0.6, 0.1, 0.2, 0.1]]),
            np.array(
                [[[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], [[0.9, 0.1], [0.85, 0.15], [0.7, 0.3], [0.4, 0.6]]]
            ),
        ),
    )


def trajectory() -> Trajectory:
    """Class 0 is mostly well, class 1 mostly ill; state 2 of each is the hospital."""
    calm = np.array([[0.80, 0.15, 0.05], [0.50, 0.40, 0.10], [0.40, 0.40, 0.20]])
    ill = np.array([[0.50, 0.30, 0.20], [0.30, 0.50, 0.20], [0.20, 0.40, 0.40]])
    old = np.array([[0.40, 0.40, 0.20], [0.30, 0.40, 0.30], [0.10, 0.40, 0.50]])
    kinds = np.tile(np.array([[0.95, 0.04, 0.01], [0.60, 0.38, 0.02], [0.10, 0.20, 0.70]]), (N_CLASSES, 1))
    # Bins of stay: half an hour, hours, days.
    stay = np.array([[0.90, 0.10, 0.00], [0.30, 0.70, 0.00], [0.00, 0.10, 0.90]])
    start = np.array([[0.0, 0.9, 0.1], [0.2, 0.4, 0.4], [0.0, 0.0, 0.0]])
    start[2] = 1 / 3
    to = np.array([[0.0, 0.0, 0.0, 1.0], [0.7, 0.28, 0.02, 0.0], [0.5, 0.2, 0.25, 0.05]])
    came = np.array([[1.0, 0.0], [0.7, 0.3], [0.4, 0.6]])
    what = np.array([[0.9, 0.1], [0.0, 1.0], [0.0, 1.0]])
    return Trajectory(
        n_classes=N_CLASSES,
        n_states=N_STATES,
        strata=Strata(sexes=SEXES, age_edges=AGE_EDGES),
        initial=np.array(
            [[0.8, 0.15, 0.05, 0.3, 0.5, 0.2], [0.7, 0.2, 0.1, 0.3, 0.4, 0.3], [0.6, 0.2, 0.2, 0.2, 0.4, 0.4]] * 2
        ),
        transition=np.array([[calm, ill], [calm, old]]),
        transition_stratum=np.array([0, 0, 1, 0, 0, 1]),
        end_hazard=np.array([[0.20, 0.15, 0.25, 0.05, 0.05, 0.10], [0.10, 0.10, 0.20, 0.05, 0.05, 0.15]]),
        visit_edges=np.array([1, 4]),
        death_given_end=np.array(
            [[0.0, 0.0, 0.02, 0.0, 0.01, 0.05], [0.01, 0.02, 0.1, 0.02, 0.1, 0.3], [0.05, 0.1, 0.4, 0.1, 0.3, 0.6]] * 2
        ),
        death_days=histogram((0, 1, 0, 0.5), (1, 31, 0, 0.3), (31, 1000, 0, 0.2)),
        died_disposition="exp",
        gap=np.array(
            [[0.0, 0.3, 0.7], [0.1, 0.6, 0.3], [0.1, 0.8, 0.1], [0.1, 0.5, 0.4], [0.2, 0.6, 0.2], [0.2, 0.7, 0.1]]
        ),
        gap_days=histogram((0, 1, 0, 1.0), (1, 8, 1, 0.3), (8, 61, 1, 0.7), (61, 366, 2, 0.8), (366, 1500, 2, 0.2)),
        encounter_classes=CLASSES,
        encounter_class=kinds,
        stay=np.repeat(stay[:, None, :], Q, axis=1),
        stay_minutes=histogram(
            (0, 10, 0, 0.2), (10, 60, 0, 0.8), (60, 720, 1, 1.0), (720, 2880, 2, 0.5), (2880, 28800, 2, 0.5)
        ),
        start_minute=start[:, None, :],
        start_minutes=histogram((0, 480, 0, 1.0), (480, 1020, 1, 1.0), (1020, 1440, 2, 1.0)),
        precision=("minute", "second", "minute"),
        stay_known=np.array([0.7, 1.0, 0.95]),
        dispositions=("home", "snf", "exp", ""),
        disposition=np.repeat(to[:, None, :], Q, axis=1),
        admit_sources=("", "emd"),
        admit_source=np.repeat(came[:, None, :], Q, axis=1),
        encounter_types=(
            Coding(system="http://snomed.info/sct", code="185349003", display="Encounter for check up"),
            Coding(system="", code=""),
        ),
        encounter_type=np.repeat(what[:, None, :], Q, axis=1),
    )


CONDITIONS = (
    # code, display, rate, sex limit, age_min, age_max, parent, recurrence (previous, earlier)
    ("I10", "Essential (primary) hypertension", 0.12, 0, 18, 124, -1, 0.85, 0.60),
    ("E78.5", "Hyperlipidemia, unspecified", 0.06, 0, 18, 124, 0, 0.80, 0.50),
    ("E11.9", "Type 2 diabetes mellitus without complications", 0.05, 0, 0, 124, 1, 0.85, 0.70),
    ("N18.31", "Chronic kidney disease, stage 3a", 0.01, 0, 18, 124, 2, 0.80, 0.60),
    ("J06.9", "Acute upper respiratory infection, unspecified", 0.15, 0, 0, 124, -1, 0.10, 0.08),
    ("O80", "Encounter for full-term uncomplicated delivery", 0.06, 1, 9, 64, -1, 0.01, 0.03),
    ("N40.0", "Benign prostatic hyperplasia without lower urinary tract symptoms", 0.08, 2, 40, 124, -1, 0.70, 0.50),
    ("P59.9", "Neonatal jaundice, unspecified", 0.20, 0, 0, 0, -1, 0.30, 0.00),
    ("R05.9", "Cough, unspecified", 0.10, 0, 0, 124, 4, 0.20, 0.05),
)


def conditions() -> CodeFamily:
    """Nine conditions, a chain of four among them."""
    rate = np.array([row[2] for row in CONDITIONS])
    by_state = np.tile(np.array([0.6, 1.2, 1.5]), N_CLASSES) * np.repeat([0.7, 1.3], N_STATES)
    never = rate[None, :] * by_state[:, None]
    with_parent = np.minimum(never * 4, 0.8)
    with_parent[:, 8] = 0.02 * by_state  # An edge may also say less likely together.
    lift = np.ones((R, len(CONDITIONS)))
    lift[[0, 3], 0] = 0.1
    lift[[2, 5], 0] = 2.5
    lift[3:, 4] = 1.4
    return _family(
        "condition",
        [Coding(system=ICD, code=row[0], display=row[1]) for row in CONDITIONS],
        never=never,
        never_with_parent=with_parent,
        previous=np.tile([row[7] for row in CONDITIONS], (Q, 1)),
        earlier=np.tile([row[8] for row in CONDITIONS], (Q, 1)),
        parent_table="condition",
        parent=np.array([row[6] for row in CONDITIONS]),
        lift=lift,
        sex_limit=np.array([row[3] for row in CONDITIONS], dtype=np.int8),
        age_min=np.array([row[4] for row in CONDITIONS], dtype=np.float64),
        age_max=np.array([row[5] for row in CONDITIONS], dtype=np.float64),
        duration=np.array([[0.2, 0.8]]),
        duration_known=np.array([0.0, 0.0, 0.0, 0.0, 0.6, 0.9, 0.0, 0.9, 0.5]),
    )


def medications() -> CodeFamily:
    """Three drugs, two of them for a condition, with doses and routes."""
    rows = (
        ("Take 1 tablet by mouth daily", 10.0, "mg", "26643006", "http://snomed.info/sct", "Oral route"),
        ("Take 1 tablet by mouth daily", 20.0, "mg", "26643006", "http://snomed.info/sct", "Oral route"),
        ("Take 1 tablet by mouth twice daily", 500.0, "mg", "26643006", "http://snomed.info/sct", "Oral route"),
        (None, None, None, None, None, None),
    )
    return _family(
        "medication_request",
        [
            Coding(system=RXNORM, code="314076", display="lisinopril 10 MG Oral Tablet"),
            Coding(system=RXNORM, code="861007", display="metformin hydrochloride 500 MG Oral Tablet"),
            Coding(system=RXNORM, code="198440", display="acetaminophen 500 MG Oral Tablet"),
        ],
        never=np.tile([0.005, 0.004, 0.10], (Q, 1)),
        never_with_parent=np.tile([0.5, 0.6, 0.10], (Q, 1)),
        previous=np.tile([0.8, 0.85, 0.1], (Q, 1)),
        earlier=np.tile([0.4, 0.4, 0.1], (Q, 1)),
        parent=np.array([0, 2, -1]),
        duration=np.array([[0.3, 0.7], [0.0, 1.0], [1.0, 0.0]]),
        duration_known=np.array([0.5, 0.5, 1.0]),
        attributes=AttributeTable(
            columns=("sig", "dose_value", "dose_unit", "route_code", "route_system", "route_display"),
            rows=rows,
            offsets=np.array([0, 2, 4, 4]),
            weight=np.array([0.6, 0.4, 0.9, 0.1]),
        ),
    )


def observations() -> CodeFamily:
    """Blood pressure (a panel), glucose, HbA1c, weight, and smoking as a coded answer."""
    labels = (
        ("8480-6", "Systolic blood pressure", 0.7),
        ("8462-4", "Diastolic blood pressure", 0.7),
        ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", 0.3),
        ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", 0.1),
        ("29463-7", "Body weight", 0.6),
        ("72166-2", "Tobacco smoking status", 0.1),
    )
    rate = np.array([row[2] for row in labels])
    snomed = "http://snomed.info/sct"
    return _family(
        "observation",
        [Coding(system=LOINC, code=row[0], display=row[1]) for row in labels],
        never=np.tile(rate, (Q, 1)),
        never_with_parent=np.tile(np.where(np.arange(6) == 3, 0.7, rate), (Q, 1)),
        previous=np.tile(rate, (Q, 1)),
        earlier=np.tile(rate, (Q, 1)),
        parent=np.array([-1, -1, -1, 2, -1, -1]),
        repeats=np.array([1.0, 1.0, 0.5, 0.0, 0.0, 0.0]),
        position=np.array([0.5, 0.3, 0.2]),
        attributes=AttributeTable(
            columns=("category", "value_system", "value_code", "value_display", "interpretation_code"),
            rows=(
                ("vital-signs", None, None, None, None),
                ("vital-signs", None, None, None, None),
                ("laboratory", None, None, None, None),
                ("vital-signs", None, None, None, None),
                ("social-history", snomed, "266919005", "Never smoked tobacco", None),
                ("social-history", snomed, "8517006", "Ex-smoker", None),
            ),
            offsets=np.array([0, 1, 2, 3, 3, 4, 6]),
            weight=np.array([1.0, 1.0, 1.0, 1.0, 0.6, 0.4]),
        ),
    )


def measurements() -> Measurements:
    """Five numbers; systolic and diastolic are one panel and correlate, as glucose and HbA1c do."""
    visit = np.eye(5)
    visit[0, 1] = visit[1, 0] = 0.6
    visit[2, 3] = visit[3, 2] = 0.7
    people = np.eye(5)
    people[0, 1] = people[1, 0] = 0.5
    people[2, 3] = people[3, 2] = 0.9
    people[0, 4] = people[4, 0] = 0.3
    shift = np.zeros((Q, 5))
    shift[:, 0] = [-0.3, 0.0, 0.3, 0.0, 0.5, 0.8]
    shift[:, 2] = [-0.5, 0.0, 0.5, 0.5, 1.5, 2.0]
    return Measurements(
        code=np.array([0, 1, 2, 3, 4], dtype=np.int32),
        unit=("mm[Hg]", "mm[Hg]", "mg/dL", "%", "kg"),
        panel=np.array([0, 0, -1, -1, -1], dtype=np.int32),
        margins=(
            _margin([(85, 109, 0.2), (110, 129, 0.5), (130, 149, 0.25), (150, 210, 0.05)], 0),
            _margin([(45, 64, 0.2), (65, 84, 0.6), (85, 110, 0.2)], 0),
            _margin([(60, 99, 0.5), (100, 100, 0.1), (101, 140, 0.3), (141, 400, 0.1)], 0),
            _margin([(45, 56, 0.6), (57, 64, 0.2), (65, 130, 0.2)], 1),
            _margin([(250, 499, 0.2), (500, 799, 0.5), (800, 1400, 0.3)], 1),
        ),
        shift=shift,
        state_share=np.tile(np.array([[0.30], [0.20], [0.05], [0.15], [0.20], [0.10]]), (1, 5)),
        person_share=np.array([0.5, 0.5, 0.4, 0.8, 0.95]),
        person=people,
        visit=visit,
        value_known=np.array([0.98, 0.98, 0.95, 1.0, 0.9]),
    )


def _margin(cells: list[tuple[int, int, float]], decimals: int) -> QuantileDistribution:
    lower, upper, weight = zip(*cells, strict=True)
    return QuantileDistribution(
        lower=np.array(lower, dtype=np.int64),
        upper=np.array(upper, dtype=np.int64),
        weight=np.array(weight, dtype=np.float64),
        decimals=decimals,
    )


def _family(table: str, codings: list[Coding], **given: Any) -> CodeFamily:
    n = len(codings)
    defaults: dict[str, Any] = {
        "parent_table": "condition",
        "parent": np.full(n, -1),
        "lift": np.ones((R, n)),
        "sex_limit": np.zeros(n, dtype=np.int8),
        "age_min": np.zeros(n),
        "age_max": np.full(n, 124.0),
        "repeats": np.zeros(n),
        "position": np.array([1.0]),
        "duration": np.zeros((1, 0)),
        "duration_days": histogram((0, 11, 0, 1.0), (11, 121, 1, 1.0)),
        "duration_known": np.zeros(n),
    }
    values = defaults | given
    for name in ("never", "never_with_parent", "previous", "earlier", "lift", "repeats", "duration_known"):
        values[name] = np.asarray(values[name], dtype=np.float32)
    values["parent"] = np.asarray(values["parent"], dtype=np.int32)
    return CodeFamily(table=table, codings=tuple(codings), **values)


def procedures() -> CodeFamily:
    """A delivery, done to women of whom a delivery is recorded, and something anyone may have."""
    return _plain(
        "procedure",
        ICD_PCS,
        {
            "4A023N7": "Measurement of cardiac sampling and pressure, left heart",
            "10E0XZZ": "Delivery of products of conception",
        },
        [0.05, 0.001],
        never_with_parent=np.tile([0.05, 0.9], (Q, 1)),
        parent=np.array([-1, 5]),
        sex_limit=np.array([0, 1], dtype=np.int8),
        age_min=np.array([18.0, 9.0]),
        age_max=np.array([124.0, 64.0]),
        duration=np.array([[1.0, 0.0]]),
        duration_known=np.array([0.5, 0.0]),
        position=np.array([0.7, 0.3]),
    )


def _plain(table: str, system: str, codes: dict[str, str], rate: list[float], **given: Any) -> CodeFamily:
    table_of = np.tile(rate, (Q, 1))
    values = {
        "never": table_of,
        "never_with_parent": table_of,
        "previous": table_of * 0.2,
        "earlier": table_of * 0.5,
    } | given
    return _family(table, [Coding(system=system, code=code, display=text) for code, text in codes.items()], **values)


def tiny_model(**changes: Any) -> PatientModel:
    """Return the model; `changes` replace fields of the PatientModel."""
    model = PatientModel(
        name="tiny",
        title="A hand-written model for tests",
        description="Not learned from anyone.",
        licence="Apache-2.0",
        provenance={"source": "written by hand"},
        person=person(),
        calendar=Calendar(
            basis="calendar",
            reference_date="2024-06-30",
            tail_days=histogram((0, 31, 0, 0.4), (31, 731, 0, 0.6)),
            spread_days=0,
        ),
        trajectory=trajectory(),
        families=(
            conditions(),
            medications(),
            procedures(),
            observations(),
            _plain("immunization", CVX, {"140": "Influenza, split virus, trivalent, PF", "20": "DTaP"}, [0.1, 0.1]),
            _plain("device", "http://snomed.info/sct", {"14106009": "Cardiac pacemaker"}, [0.01]),
        ),
        measurements=measurements(),
        disclosure=Disclosure(min_patients=5, counts={"patients": 0}, rounding=10, left_out={}),
    )
    return replace(model, **changes) if changes else model
