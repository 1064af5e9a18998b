"""What surrounds the people of a block: homes and names, clinics and practitioners, payers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.generation.assignment import Assignment
from ehrsynth.generation.columns import labels
from ehrsynth.generation.encounters import DAY, Encounters, completed_years
from ehrsynth.generation.facilities import facilities
from ehrsynth.generation.identity import identities
from ehrsynth.generation.places import places
from ehrsynth.generation.population import People
from ehrsynth.model import PatientModel
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.records import Records

__all__ = ["Surroundings", "SurroundingsOfBlock", "marital_status"]

Int = npt.NDArray[np.int64]

# Source of Payment Typology, chapter 8: no payment from an organization, agency or program (self-pay, charity).
_NO_PAYER = "8"
_MARRIAGE_AGE = 15


@dataclass(frozen=True, kw_only=True)
class SurroundingsOfBlock:
    """What surrounds the people and encounters of one block.

    Attributes
    ----------
    identity : pyarrow.Table
        Names, addresses, telephones and numbers; one row a person.
    home_organization, home_practitioner : int64[n]
        Rows of the shared tables.
    organization, practitioner, location : int64[v]
        Of each encounter; -1 for none.
    payer : int64[n]
        Row of the payer table; -1 for nobody who pays.
    """

    identity: pa.Table
    home_organization: Int
    home_practitioner: Int
    organization: Int
    practitioner: Int
    location: Int
    payer: Int


class Surroundings:
    """The shared tables of a model and a seed, and how a block's people are sent to them.

    Parameters
    ----------
    model : PatientModel or LifeCourseModel
        Care is in the states that its network knows, or else anywhere in the country.
    seed : int
    """

    def __init__(self, model: PatientModel | LifeCourseModel, seed: int) -> None:
        self._seed = seed
        known = set(places().state.unique().to_pylist())
        variable = next((variable for variable in model.person.variables if variable.name == "state"), None)
        self._states = [label for label in (variable.states if variable else ()) if label in known]
        payer = next((variable for variable in model.person.variables if variable.name == "payer"), None)
        paying = [label for label in (payer.states if payer else ()) if not label.startswith(_NO_PAYER)]
        self._facilities = facilities(seed, states=self._states or None, payer_types=paying)
        self.assignment = Assignment(self._facilities)
        self.ids = {
            name: self._facilities.records[name][f"{name}_id"].to_numpy().astype("S36")
            for name in ("organization", "practitioner", "location", "payer")
        }

    @property
    def records(self) -> Records:
        """The shared tables."""
        return self._facilities.records

    def of(
        self, people: People, encounters: Encounters, encounter_classes: tuple[str, ...], block: int, year: int
    ) -> SurroundingsOfBlock:
        """Return what surrounds `people` and their `encounters`; `year` is that of the reference date."""
        seed, n = self._seed, len(encounters.birth_day)
        sex, race, ethnicity, state, payer = (
            _labels(people, name) for name in ("sex", "race", "ethnicity", "state", "payer")
        )
        if state is not None:
            # A state without a place (a territory, a country) is no state to live in.
            state = labels(people.states["state"], [s if s in self._states else None for s in people.labels["state"]])
        homes = self._facilities.homes.draw(
            n, race_code=race, ethnicity_code=ethnicity, state=state if self._states else None, seed=seed, block=block
        )
        gender = labels(np.zeros(n, dtype=np.int64), ["unknown"]) if sex is None else sex
        age = completed_years(encounters.birth_day, encounters.record_end_day)
        care = self.assignment.patients(homes, sex=gender, age_years=age.astype(np.float64), seed=seed, block=block)
        patient = encounters.visits.patient
        age = completed_years(encounters.birth_day[patient], encounters.start // DAY)
        sites = self.assignment.encounters(
            care,
            patient=patient,
            encounter_class=labels(encounters.kind, encounter_classes),
            age_years=age.astype(np.float64),
            seed=seed,
            block=block,
        )
        birth_year = encounters.birth_day.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
        identity = identities(
            n,
            sex=gender,
            birth_year=birth_year,
            race_code=race,
            ethnicity_code=ethnicity,
            marital_status_code=marital_status(people, encounters),
            homes=homes,
            reference_year=year,
            seed=seed,
            block=block,
            block_size=n,
        )
        payers = np.full(n, -1, dtype=np.int64)
        if payer is not None:
            paying = [None if code.startswith(_NO_PAYER) else code for code in people.labels["payer"]]
            payers = self.assignment.payers(labels(people.states["payer"], paying), n, seed=seed, block=block)
        return SurroundingsOfBlock(
            identity=identity,
            home_organization=care.organization,
            home_practitioner=care.practitioner,
            organization=sites.organization,
            practitioner=sites.practitioner,
            location=sites.location,
            payer=payers,
        )


def marital_status(people: People, encounters: Encounters) -> pa.Array | None:
    """Return the marital status of each person, on the last day of the record; None if the model knows none.

    Whom the network calls married and who is still a child on that day has none.
    """
    if "marital_status" not in people.labels:
        return None
    age = completed_years(encounters.birth_day, encounters.record_end_day)
    status = np.where(age >= _MARRIAGE_AGE, people.states["marital_status"], -1)
    return labels(status, people.labels["marital_status"])


def _labels(people: People, name: str) -> pa.Array | None:
    return labels(people.states[name], people.labels[name]) if name in people.labels else None
