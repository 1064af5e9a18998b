"""Rebuilds the model `acute_inpatient` from its sources, byte for byte.

    python domain_models/acute_inpatient/recipe.py SOURCES OUTPUT

SOURCES holds ``mimic4_demo_native`` (MIMIC-IV demo, ODbL) and ``mimic4_demo_meds`` (the same patients with laboratory
values and vital signs); beside it stands ``vocab`` with CMS's table 5 of the MS-DRGs, the general equivalence mappings,
CCSR and RxNorm. The README beside this file tells what is taken from which and why. Needs the ``learn`` extra. Rows of
the sources are read here and nowhere stored.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pyarrow as pa

import ehrsynth
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.recipe import run
from ehrsynth.model import PatientModel
from ehrsynth.model.patient_model import Coding
from ehrsynth.probability.histogram import Histogram
from ehrsynth.records import Records

SEED = 20260103
FEWEST = 5
"""People that a diagnosis, drug or group of DRGs must have to stand for itself."""
PSEUDO_STAYS = 400.0
"""Weight of the published length of stay, in patients: the cohort's own patients of a group count for one each."""
PSEUDO_ADMISSIONS = 2.0
"""Added to both sides of a group's lift of a code: shrinks it to 1."""
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM, LOINC, NDC = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://loinc.org", "http://hl7.org/fhir/sid/ndc"
MDC = "urn:ehrsynth:ms-drg:mdc"
MDC_TITLES = {
    "01": "Nervous system",
    "04": "Respiratory system",
    "05": "Circulatory system",
    "06": "Digestive system",
    "07": "Hepatobiliary system and pancreas",
    "08": "Musculoskeletal system and connective tissue",
    "10": "Endocrine, nutritional and metabolic",
    "11": "Kidney and urinary tract",
    "18": "Infectious and parasitic diseases",
    "": "Other major diagnostic categories",
}
MEASURED = {
    # item of MIMIC: (LOINC, display, UCUM unit, category, lowest, highest value taken as real)
    "50971": ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", "laboratory", 1, 10),
    "50983": ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", "laboratory", 90, 190),
    "50902": ("2075-0", "Chloride [Moles/volume] in Serum or Plasma", "mmol/L", "laboratory", 50, 150),
    "50882": ("1963-8", "Bicarbonate [Moles/volume] in Serum or Plasma", "mmol/L", "laboratory", 3, 60),
    "51006": ("3094-0", "Urea nitrogen [Mass/volume] in Serum or Plasma", "mg/dL", "laboratory", 1, 250),
    "50912": ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", "laboratory", 0.1, 25),
    "50931": ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", "laboratory", 15, 1500),
    "50893": ("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "mg/dL", "laboratory", 3, 18),
    "50960": ("19123-9", "Magnesium [Mass/volume] in Serum or Plasma", "mg/dL", "laboratory", 0.3, 8),
    "50970": ("2777-1", "Phosphate [Mass/volume] in Serum or Plasma", "mg/dL", "laboratory", 0.3, 15),
    "51222": ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", "laboratory", 2, 24),
    "51265": ("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", "laboratory", 2, 1500),
    "51301": ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", "laboratory", 0.1, 200),
    "220045": ("8867-4", "Heart rate", "/min", "vital-signs", 20, 250),
    "220210": ("9279-1", "Respiratory rate", "/min", "vital-signs", 4, 70),
    "220277": ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry", "%", "vital-signs", 50, 100),
    "220179": ("8480-6", "Systolic blood pressure", "mm[Hg]", "vital-signs", 40, 280),
    "220180": ("8462-4", "Diastolic blood pressure", "mm[Hg]", "vital-signs", 15, 180),
}
_EVEN = np.ones(1)
STAY_DAYS = (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 45, 60)


def drg_table(vocab: Path) -> pd.DataFrame:
    """Return CMS's table 5 (fiscal year 2026) by MS-DRG: mdc, geometric and arithmetic mean of the days of stay."""
    names = ["drg", "post_acute", "special_pay", "mdc", "type", "title", "weight", "capped", "geometric", "arithmetic"]
    table = pd.read_csv(
        vocab / "ms_drg_weights_los.txt.gz",
        sep="\t",
        skiprows=3,
        names=names,
        usecols=range(10),
        encoding="latin-1",
        dtype=str,
    )
    for name in ("geometric", "arithmetic"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table.dropna(subset=["geometric", "arithmetic"]).set_index("drg")


def admissions(sources: Path, drgs: pd.DataFrame) -> pd.DataFrame:
    """Return by admission its MS-DRG's published days of stay and its group: other, if of fewer than `FEWEST`."""
    coded = pd.read_csv(sources / "mimic4_demo_native" / "drgcodes.csv.gz", dtype=str)
    coded = coded[coded["drg_type"] == "HCFA"].drop_duplicates("hadm_id")
    whole = coded.join(drgs[["mdc", "geometric", "arithmetic"]], on="drg_code").set_index("hadm_id")
    people = whole.groupby("mdc")["subject_id"].nunique()
    group = whole["mdc"].where(whole["mdc"].map(people).ge(FEWEST) & whole["mdc"].isin(list(MDC_TITLES)), "")
    return whole.assign(group=group)


def _commonest(frame: pd.DataFrame, of: str, code: str) -> pd.Series:
    """Return the code that most people have among those of equal `of` (the first in order among equals)."""
    people = frame.groupby([of, code])["patient_id"].nunique().rename("people").reset_index()
    ranked = people.sort_values([of, "people", code], ascending=[True, False, True])
    return ranked.drop_duplicates(of).set_index(of)[code]


def _back_off(frame: pd.DataFrame, of: str, code: str) -> pd.Series:
    """Return `code`, or where fewer than `FEWEST` people have it the commonest of its `of`."""
    people = frame.groupby(code)["patient_id"].nunique()
    return frame[code].where(frame[code].map(people) >= FEWEST, frame[of].map(_commonest(frame, of, code)))


def conditions(table: pa.Table, vocab: Path) -> pa.Table:
    """Return the diagnoses in ICD-10-CM: mapped by CMS's equivalence mappings, rare ones to their CCSR's commonest."""
    frame = table.to_pandas()
    gem = pd.read_csv(vocab / "icd9_to_icd10cm_gem.csv.gz", dtype=str)
    mapped = gem[gem["no_map"] == "0"].drop_duplicates("icd9cm").set_index("icd9cm")["icd10cm"]
    named = pd.read_csv(vocab / "icd_10_cm_2026.csv.gz", dtype=str, names=["code", "display"]).set_index("code")
    grouper = pd.read_csv(vocab / "dx_to_ccsr_mapping_v2023_1.csv.gz", dtype=str)
    ccsr = grouper.drop_duplicates("ICD-10-CM Code").set_index("ICD-10-CM Code")["CCSR Category"]
    bare = frame["code"].str.replace(".", "", regex=False)
    bare = bare.where(frame["code_system"] == ICD10CM, bare.map(mapped))
    frame = frame.assign(bare=bare, ccsr=bare.map(ccsr))
    # External causes (where a fall happened) say nothing of the illness, and rolled up they say it wrongly.
    known = frame["bare"].isin(named.index) & frame["ccsr"].notna() & ~frame["ccsr"].astype(str).str.startswith("EXT")
    frame = frame[known].reset_index(drop=True)
    kept = _back_off(frame, "ccsr", "bare")
    frame = frame.assign(
        code_system=ICD10CM,
        code=[code if len(code) < 4 else f"{code[:3]}.{code[3:]}" for code in kept],
        display=kept.map(named["display"]),
    )
    frame = frame.sort_values(["encounter_id", "rank"]).drop_duplicates(["encounter_id", "code"])
    return _table(frame[["condition_id", "patient_id", "encounter_id", "category", "code_system", "code", "display"]])


def medications(table: pa.Table, vocab: Path) -> pa.Table:
    """Return the orders in RxNorm, by NDC; rare products are their drug's commonest. Orders of no known NDC go."""
    frame = table.to_pandas()
    mapped = pd.read_csv(vocab / "ndc_rxcui_atc.csv.gz", dtype=str).drop_duplicates("NDC").set_index("NDC")["rxcui"]
    named = pd.read_csv(vocab / "rxnorm_names.csv.gz", dtype=str).drop_duplicates("rxcui").set_index("rxcui")["name"]
    frame = frame.assign(drug=frame["display"].astype(str).str.casefold(), rxcui=frame["code"].map(mapped))
    frame = frame[(frame["code_system"] == NDC) & frame["rxcui"].isin(named.index)].reset_index(drop=True)
    kept = _back_off(frame, "drug", "rxcui")
    frame = frame.assign(code_system=RXNORM, code=kept, display=kept.map(named))
    frame = frame.sort_values(["encounter_id", "authored_datetime", "code"]).drop_duplicates(["encounter_id", "code"])
    columns = ["medication_request_id", "patient_id", "encounter_id", "code_system", "code", "display", "status"]
    return _table(frame[[*columns, "intent", "authored_datetime", "time_precision"]])


def observations(sources: Path, encounter: pd.DataFrame) -> pa.Table:
    """Return the first value of each measurement of an admission, from a day before it (emergency department) on."""
    events = pd.read_parquet(sources / "mimic4_demo_meds" / "events.parquet")
    # The two editions shift dates differently, by patient: admissions correspond in their order.
    admitted = events[events["code"].str.startswith("HOSPITAL_ADMISSION")].sort_values(["subject_id", "time"])
    listed = pd.read_csv(sources / "mimic4_demo_native" / "admissions.csv.gz", dtype={"hadm_id": str})
    listed = listed.sort_values(["subject_id", "admittime"])
    if admitted["subject_id"].tolist() != listed["subject_id"].tolist():
        raise SystemExit("The editions of the MIMIC-IV demo do not hold the same admissions.")
    at = pd.DataFrame(
        {"subject_id": listed["subject_id"], "hadm_id": listed["hadm_id"], "admitted": admitted["time"].to_numpy()}
    )
    stays = pd.to_datetime(listed["dischtime"]) - pd.to_datetime(listed["admittime"])
    at = at.assign(discharged=at["admitted"] + stays).merge(encounter, left_on="hadm_id", right_on="encounter_id")
    part = events["code"].str.split("/", expand=True)
    values = events.assign(item=part[2])[(part[0] == "LAB") & part[2].isin(list(MEASURED)) & events["value"].notna()]
    whole = values.merge(at, on="subject_id")
    inside = (whole["time"] >= whole["admitted"] - pd.Timedelta(days=1)) & (whole["time"] <= whole["discharged"])
    limits = pd.DataFrame({item: row[4:] for item, row in MEASURED.items()}, index=["low", "high"]).T
    whole = whole[inside].join(limits, on="item")
    whole = whole[(whole["value"] >= whole["low"]) & (whole["value"] <= whole["high"])]
    whole = whole.sort_values(["hadm_id", "item", "time", "value"]).drop_duplicates(["hadm_id", "item"])
    whole = whole.reset_index(drop=True)
    rows = [MEASURED[item] for item in whole["item"]]
    return pa.table(
        {
            "observation_id": [f"o{i}" for i in range(len(whole))],
            "patient_id": whole["patient_id"].to_numpy(dtype=str),
            "encounter_id": whole["hadm_id"].to_numpy(dtype=str),
            "category": [row[3] for row in rows],
            "status": ["final"] * len(whole),
            "code_system": [LOINC] * len(whole),
            "code": [row[0] for row in rows],
            "display": [row[1] for row in rows],
            "effective_datetime": whole["start_datetime"].to_numpy().astype("datetime64[s]"),
            "time_precision": ["minute"] * len(whole),
            "value_number": np.round(whole["value"].to_numpy(dtype=float), 2),
            "value_unit": [row[2] for row in rows],
        }
    )


def _table(frame: pd.DataFrame) -> pa.Table:
    return pa.table({name: pa.array(frame[name].to_list()) for name in frame})


def records(sources: Path) -> Records:
    """Return the inpatient admissions that have an MS-DRG. Its group stands where the encounter's class does."""
    vocab = sources.parent / "vocab"
    every = ehrsynth.read(sources / "mimic4_demo_native", format="mimic-iv")
    drg = admissions(sources, drg_table(vocab))
    encounter = every["encounter"].to_pandas()
    encounter = encounter[encounter["encounter_class"].eq("IMP") & encounter["encounter_id"].isin(drg.index)]
    encounter = encounter.sort_values(["patient_id", "start_datetime"], ignore_index=True)
    kept = pa.array(encounter["encounter_id"].to_list())

    def of_stays(name: str) -> pa.Table:
        return every[name].filter(pa.compute.is_in(every[name]["encounter_id"], kept))

    table = every["encounter"].filter(pa.compute.is_in(every["encounter"]["encounter_id"], kept))
    table = table.sort_by([("patient_id", "ascending"), ("start_datetime", "ascending")])
    sequence = encounter.groupby("patient_id").cumcount() + 1
    groups = [f"MDC {code}" for code in encounter["encounter_id"].map(drg["group"])]
    table = table.drop_columns(["sequence", "encounter_class", "location_id"])
    table = table.append_column("sequence", pa.array(sequence.to_list()))
    table = table.append_column("encounter_class", pa.array(groups))
    people = pa.array(sorted(set(encounter["patient_id"])))
    patient = every["patient"].filter(pa.compute.is_in(every["patient"]["patient_id"], people))
    tables = {
        "patient": patient,
        "encounter": table,
        "condition": conditions(of_stays("condition"), vocab),
        "medication_request": medications(of_stays("medication_request"), vocab),
        "procedure": of_stays("procedure"),
        "observation": observations(sources, encounter[["patient_id", "encounter_id", "start_datetime"]]),
    }
    source = "MIMIC-IV Clinical Database Demo 2.2 and its MEDS edition, with CMS's MS-DRG table 5 (FY 2026)"
    provenance = replace(every.provenance, source=source, licence="ODbL 1.0 (demo)")
    return Records.from_tables(tables, provenance=provenance)


def published(sources: Path) -> tuple[pd.DataFrame, pd.Series]:
    """Return (published log mean and spread of the days of stay, by group; people of the cohort, by group).

    A stay within a DRG is taken as log-normal: its geometric mean is the median, and arithmetic / geometric mean =
    exp(sigma**2 / 2). The DRGs of a group weigh as many as the cohort's admissions of them.
    """
    drg = admissions(sources, drg_table(sources.parent / "vocab")).dropna(subset=["geometric"])
    mean = np.log(drg["geometric"])
    variance = 2 * np.log(np.maximum(drg["arithmetic"] / drg["geometric"], 1.0))
    frame = pd.DataFrame({"group": drg["group"], "mean": mean, "second": variance + mean**2})
    by_group = frame.groupby("group")[["mean", "second"]].mean()
    by_group["sigma"] = np.sqrt(by_group["second"] - by_group["mean"] ** 2)
    return by_group, drg.groupby("group")["subject_id"].nunique()


def lifts(learned: Records, table: str, codes: list[str], groups: list[str]) -> np.ndarray:
    """Return float [groups, codes]: how many times likelier an admission of a group has a code than any admission.

    Shrunk by `PSEUDO_ADMISSIONS`. Only where `FEWEST` people of the group have the code; what a code has more of in
    those groups it has less of in the others, all alike, so that its share of all admissions stays.
    """
    group = learned["encounter"].to_pandas().set_index("encounter_id")["encounter_class"].astype(str)
    rows = learned[table].to_pandas()[["encounter_id", "patient_id", "code"]].drop_duplicates()
    rows = rows.assign(group=rows["encounter_id"].map(group), code=rows["code"].astype(str))
    axes = {"index": groups, "columns": codes}
    admitted = group.value_counts().reindex(groups).to_numpy(dtype=float)[:, None]
    found = rows.groupby(["group", "code"]).size().unstack(fill_value=0).reindex(**axes, fill_value=0).to_numpy(float)
    people = rows.groupby(["group", "code"])["patient_id"].nunique().unstack(fill_value=0)
    people = people.reindex(**axes, fill_value=0).to_numpy(float)
    even = found.sum(axis=0, keepdims=True) * admitted / admitted.sum()
    lift = (found + PSEUDO_ADMISSIONS) / (even + PSEUDO_ADMISSIONS)
    told = people >= FEWEST
    share = even / np.maximum(found.sum(axis=0, keepdims=True), 1.0)
    taken, left = (share * lift * told).sum(axis=0), (share * ~told).sum(axis=0)
    return np.asarray(np.where(told, lift, np.clip((1 - taken) / np.maximum(left, 1e-9), 0.1, 1.0)))


def _lifted(probability: np.ndarray, lift: np.ndarray) -> np.ndarray:
    """Return probabilities whose odds are multiplied by `lift`."""
    p = np.asarray(probability, dtype=np.float64)
    return np.asarray(p * lift / (1 - p + p * lift), dtype=np.float32)


def with_published_stays(model: PatientModel, learned: Records, sources: Path) -> PatientModel:
    """Return `model` with inpatient encounters typed by group, whose stays are mostly the published ones.

    Each hidden state is split by the group of the admission (a state of the product): the group decides the stay and
    lifts the odds of the codes that are commoner in it; nothing else of what was learned changes. One class only.
    """
    t = model.trajectory
    by_group, people = published(sources)
    minutes = np.round(np.array(STAY_DAYS) * 1440).astype(np.int64)
    table = np.zeros((len(t.encounter_classes), len(minutes) - 1))
    for row, name in enumerate(t.encounter_classes):
        group = name.removeprefix("MDC ")
        wanted = _log_normal(minutes / 1440.0, *by_group.loc[group, ["mean", "sigma"]])
        own = _rebinned(t.stay_minutes, t.stay[row].mean(axis=0), minutes)
        share = people[group] / (people[group] + PSEUDO_STAYS)
        table[row] = share * own + (1 - share) * wanted
    n, k = len(t.encounter_classes), t.n_states
    of_state, of_class = np.repeat(np.arange(k), n), np.tile(np.arange(n), k)
    share = np.asarray(t.encounter_class, dtype=float).ravel()

    def chosen(values: np.ndarray) -> np.ndarray:
        """Return float [1, Q', n] of a table float [E, Q, n]."""
        return np.asarray(np.asarray(values)[of_class, of_state if np.shape(values)[1] > 1 else 0][None])

    types = tuple(
        Coding(system=MDC, code=name.removeprefix("MDC ") or "other", display=MDC_TITLES[name.removeprefix("MDC ")])
        for name in t.encounter_classes
    )
    trajectory = replace(
        t,
        n_states=t.n_states * n,
        initial=np.asarray(t.initial)[:, of_state] * share,
        transition=np.asarray(t.transition)[:, :, of_state[:, None], of_state[None, :]] * share,
        end_hazard=np.asarray(t.end_hazard)[:, of_state],
        death_given_end=np.asarray(t.death_given_end)[:, of_state],
        gap=np.asarray(t.gap)[of_state],
        encounter_classes=("IMP",),
        encounter_class=np.ones((k * n, 1)),
        stay=table[of_class][None],
        stay_minutes=Histogram(
            edges=minutes, coarse=np.arange(len(minutes) - 1), weight=np.diff(minutes).astype(np.float64)
        ),
        start_minute=chosen(t.start_minute),
        precision=t.precision[:1],
        stay_known=np.ones(1),
        disposition=chosen(t.disposition),
        admit_source=chosen(t.admit_source),
        encounter_types=types,
        encounter_type=np.eye(n)[of_class][None],
    )
    lifted = {
        family.table: lifts(
            learned, family.table, [coding.code for coding in family.codings], list(t.encounter_classes)
        )[of_class]
        for family in model.families
        if family.table != "observation"
    }
    families = tuple(
        replace(
            family,
            never=_lifted(family.never[of_state], lifted.get(family.table, _EVEN)),
            never_with_parent=_lifted(family.never_with_parent[of_state], lifted.get(family.table, _EVEN)),
            previous=_lifted(family.previous[of_state], lifted.get(family.table, _EVEN)),
            earlier=_lifted(family.earlier[of_state], lifted.get(family.table, _EVEN)),
            sizes=None if family.sizes is None else family.sizes[of_state],
        )
        for family in model.families
    )
    measured = model.measurements
    if measured is not None:
        measured = replace(
            measured,
            shift=measured.shift[of_state],
            state_share=measured.state_share[of_state] * share[:, None],
        )
    return replace(model, trajectory=trajectory, families=families, measurements=measured)


def _log_normal(days: np.ndarray, mean: float, sigma: float) -> np.ndarray:
    """Return the shares of a log-normal between `days`, renormalised."""
    share = np.diff([NormalDist(mean, sigma).cdf(x) for x in np.log(days)])
    return np.asarray(share / share.sum())


def _rebinned(histogram: Histogram, share: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the shares of `histogram`'s coarse bins between other edges, even within a cell."""
    weight = histogram.weight / np.bincount(histogram.coarse, weights=histogram.weight)[histogram.coarse]
    below = np.concatenate([[0.0], np.cumsum(weight * share[histogram.coarse])])
    found = np.diff(np.interp(edges, histogram.edges, below))
    return np.asarray(found / found.sum())


def build(sources: Path) -> PatientModel:
    """Return the model learned from the sources."""
    settings = LearningSettings(
        min_patients=FEWEST,
        states=12,
        classes=1,
        iterations=20,
        reference_date="2025-01-01",
        name="acute_inpatient",
        title="Acute admissions to hospital, with lengths of stay of the published DRG table",
        description="See README.md beside the model.",
        licence="ODbL-1.0",
    )
    learned = records(sources)
    return with_published_stays(learn(learned, settings=settings, seed=SEED), learned, sources)


if __name__ == "__main__":
    run(build)
