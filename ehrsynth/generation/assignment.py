"""Who cares for whom: a home clinic and practitioner for each patient, an organization and practitioner for each visit.

Patients are cared for in the region where they live. At their clinic they mostly see the same practitioner, whose
specialty fits their sex and age; emergencies and stays are at the region's hospital.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import UsageError
from ehrsynth.generation.facilities import KINDS, Facilities
from ehrsynth.generation.places import Homes, Labels, Ragged, codes_of
from ehrsynth.randomness import stream
from ehrsynth.terminology import library, limits

__all__ = ["Assignment", "Care", "Sites"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

# Visits to a practice: at one's clinic, with a specialist, at urgent care.
_AT_CLINIC, _AT_SPECIALIST = 0.78, 0.92
# How often it is the practitioner one always sees, at the clinic and of the specialists.
_SAME_AT_CLINIC, _SAME_SPECIALIST = 0.85, 0.7
_IN_INTENSIVE_CARE = 0.08
# One's own practitioner: children go to a paediatrician rather than to a family doctor, and few women to a
# gynaecologist for everything.
_FOR_CHILDREN, _FOR_ONE_SEX = 4.0, 0.25

_CLASSES = ("EMER", "FLD", "IMP", "ACUTE", "NONAC", "OBSENC", "SS", "PRENC", "HH", "VR")
_EMERGENCY, _LAST_STAY, _HOME_HEALTH = 1, 7, 8
_AMBULATORY = len(_CLASSES)

_SEXES = ("female", "male")


@dataclass(frozen=True, kw_only=True)
class Care:
    """Who cares for the patients of a block.

    Attributes
    ----------
    organization, practitioner : int64[n]
        Home clinic and general practitioner: rows of the shared tables.
    region : int64[n]
    sex : int64[n]
        0 female, 1 male, 2 neither or unknown.
    age_years : float64[n]
    own, own_specialist : float64[n]
        What picks the practitioner one always sees, at every age.
    """

    organization: Int
    practitioner: Int
    region: Int
    sex: Int
    age_years: Float
    own: Float
    own_specialist: Float


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Where and by whom each encounter is: rows of the shared tables, shape (encounters,); location -1 for at home."""

    organization: Int
    practitioner: Int
    location: Int


class Assignment:
    """Sends patients to the facilities of their region."""

    def __init__(self, facilities: Facilities) -> None:
        self._facilities = facilities
        specialties = library.code_system("nucc")
        codes = specialties.codes["code"].to_pylist()
        sex, low, high = limits(specialties.uri, codes)
        edges = sorted({*low.tolist(), *high[np.isfinite(high)].tolist()} - {0.0})
        self._edges = np.array(edges)
        n_bands = len(edges) + 1
        self._n_bands, self._n_strata = n_bands, (len(_SEXES) + 1) * n_bands
        # Eligible for a stratum: the whole band lies within the specialty's ages, and the sex is one it sees.
        start, end = np.array([0.0, *edges]), np.array([*edges, np.inf])
        fits_age = (low[:, None] <= start) & (end <= high[:, None])
        fits_sex = np.column_stack([sex != 2, sex != 1, sex == 0])
        self._fits = (fits_sex[:, :, None] & fits_age[:, None, :]).reshape(len(codes), self._n_strata)
        staff = facilities.staff
        own = np.where(np.isfinite(high), _FOR_CHILDREN, np.where(sex > 0, _FOR_ONE_SEX, 1.0))[staff.specialty]
        works = np.array(staff.service)
        self._general = self._by_stratum(works == "clinic", own)
        self._specialists = self._by_stratum(works == "specialty", np.ones(len(own)))
        self._emergency = self._by_stratum(works == "emergency", np.ones(len(own)))
        self._ward = self._by_stratum(works == "hospital", np.ones(len(own)))
        self._clinics = self._by_region("clinic")
        self._hospital = self._one_by_region("hospital")
        self._group = self._one_by_region("specialty")
        self._urgent = self._one_by_region("urgent")
        self._payers = _payers_by_type(facilities)
        n = len(facilities.kind)
        self._location = {
            role: _first_location(facilities, role, n) for role in dict.fromkeys(facilities.location_role)
        }
        self._only_location = _first_location(facilities, None, n)

    def _by_stratum(self, who: npt.NDArray[np.bool_], weight: Float) -> Ragged:
        staff, rows = self._facilities.staff, np.flatnonzero(who)
        fits = self._fits[staff.specialty[rows]]
        row, stratum = np.nonzero(fits)
        keys = staff.organization[rows[row]] * self._n_strata + stratum
        return Ragged.build(keys, rows[row], weight[rows[row]], len(self._facilities.kind) * self._n_strata)

    def _by_region(self, kind: str) -> Ragged:
        rows = np.flatnonzero(self._facilities.kind == KINDS.index(kind))
        return Ragged.build(self._facilities.region[rows], rows, np.ones(len(rows)), len(self._facilities.regions))

    def _one_by_region(self, kind: str) -> Int:
        return self._by_region(kind).draw(
            np.arange(len(self._facilities.regions)), np.zeros(len(self._facilities.regions))
        )

    def _stratum(self, sex: Int, age_years: Float) -> Int:
        return sex * self._n_bands + np.searchsorted(self._edges, age_years, side="right")

    def patients(self, homes: Homes, *, sex: Labels, age_years: Float, seed: int, block: int) -> Care:
        """Return the clinic and practitioner of each patient.

        Parameters
        ----------
        homes : Homes
            Drawn by `Facilities.homes`.
        sex : labels
            ``female``, ``male`` or anything else.
        age_years : float array, shape (n,)
            Age for which the general practitioner is chosen: now, or at death.
        seed, block : int

        Raises
        ------
        UsageError
            Homes that were not drawn in the facilities' regions.
        """
        n = len(homes)
        if n and homes.region.min() < 0:
            raise UsageError("A home outside the regions of the facilities.", hint="Draw homes by facilities.homes.")
        clinic = self._clinics.draw(homes.region, stream(seed, "assignment.clinic", block).random(n))
        own = stream(seed, "assignment.practitioner", block).random(n)
        gender = codes_of(sex, _SEXES, other=len(_SEXES), n=n)
        age = np.asarray(age_years, dtype=np.float64)
        return Care(
            organization=clinic,
            practitioner=self._general.draw(clinic * self._n_strata + self._stratum(gender, age), own),
            region=homes.region,
            sex=gender,
            age_years=age,
            own=own,
            own_specialist=stream(seed, "assignment.specialist", block).random(n),
        )

    def encounters(
        self,
        care: Care,
        *,
        patient: Int,
        encounter_class: Labels,
        age_years: Float | None = None,
        seed: int,
        block: int,
    ) -> Sites:
        """Return the organization, practitioner and location of each encounter.

        Parameters
        ----------
        care : Care
        patient : int array, shape (encounters,)
            Row of the patient of each encounter.
        encounter_class : labels
            Codes of v3-ActCode: EMER and FLD go to the emergency department, stays to the wards, VR to one's own
            practitioner; AMB and others to the clinic, a specialist or urgent care.
        age_years : float array, optional
            Age at each encounter; that of `care` if left out. A child's practitioner is a child's.
        seed, block : int
        """
        n = len(patient)
        uniform = stream(seed, "assignment.encounters", block).random((n, 3))
        kind = codes_of(encounter_class, _CLASSES, other=_AMBULATORY, n=n)
        age = care.age_years[patient] if age_years is None else np.asarray(age_years, dtype=np.float64)
        stratum, region = self._stratum(care.sex[patient], age), care.region[patient]
        emergency, stay = kind <= _EMERGENCY, (kind > _EMERGENCY) & (kind <= _LAST_STAY)
        at_practice = kind == _AMBULATORY
        specialist = at_practice & (uniform[:, 0] >= _AT_CLINIC) & (uniform[:, 0] < _AT_SPECIALIST)
        urgent = at_practice & (uniform[:, 0] >= _AT_SPECIALIST)
        organization = np.select(
            [emergency | stay, specialist, urgent],
            [self._hospital[region], self._group[region], self._urgent[region]],
            care.organization[patient],
        )
        # Whom one always sees is picked by one's own number, anybody else by the encounter's.
        clinic = ~(emergency | stay | specialist | urgent)
        always = clinic & ((uniform[:, 1] < _SAME_AT_CLINIC) | ~at_practice)
        pick = np.where(always, care.own[patient], uniform[:, 2])
        pick = np.where(specialist & (uniform[:, 1] < _SAME_SPECIALIST), care.own_specialist[patient], pick)
        key = organization * self._n_strata + stratum
        practitioner = np.select(
            [emergency, stay, specialist],
            [table.draw(key, pick) for table in (self._emergency, self._ward, self._specialists)],
            self._general.draw(key, pick),
        )
        return Sites(
            organization=organization,
            practitioner=practitioner,
            location=self._locations(organization, emergency, stay, uniform[:, 0], kind == _HOME_HEALTH),
        )

    def _locations(
        self,
        organization: Int,
        emergency: npt.NDArray[np.bool_],
        stay: npt.NDArray[np.bool_],
        uniform: Float,
        at_home: npt.NDArray[np.bool_],
    ) -> Int:
        intensive = stay & (uniform < _IN_INTENSIVE_CARE)
        return np.select(
            [at_home, emergency, intensive, stay],
            [
                np.full(len(organization), -1),
                *(self._location[role][organization] for role in ("ER", "ICU", "HU")),
            ],
            self._only_location[organization],
        )

    def payers(self, payer_type: Labels, n: int, *, seed: int, block: int, name: str = "payer") -> Int:
        """Return a payer (row of its table) for each of `n` types of payer; -1 where the type is empty.

        Parameters
        ----------
        payer_type : labels
            Codes of the Source of Payment Typology. A type that no payer has is one of the nearest broader type.
        n : int
        seed, block : int
        name : str
            Of the random stream: another one for another use in the same block.
        """
        keys, table = self._payers
        kind = codes_of(payer_type, _with_broader(payer_type, keys), other=-1, n=n)
        found = table.draw(np.maximum(kind, 0), stream(seed, f"assignment.{name}", block).random(n))
        return np.where(kind < 0, -1, found)


def _with_broader(labels: Labels, keys: dict[str, int]) -> dict[str, int]:
    """Return `keys` with each other label mapped to its longest known beginning, else to miscellaneous (9)."""
    column = labels if isinstance(labels, pa.Array | pa.ChunkedArray) else pa.array(list(labels), type=pa.string())
    found = dict(keys)
    for label in pc.unique(column).to_pylist():
        if label and label not in keys:
            broader = (label[:stop] for stop in range(len(label) - 1, 0, -1))
            found[label] = next((keys[one] for one in broader if one in keys), keys["9"])
    return found


def _first_location(facilities: Facilities, role: str | None, n: int) -> Int:
    """Return the first location (of a role, if given) of each organization; -1 for none."""
    first = np.full(n, -1, dtype=np.int64)
    for at in range(len(facilities.location_role) - 1, -1, -1):
        if role in (None, facilities.location_role[at]):
            first[facilities.location_organization[at]] = at
    return first


def _payers_by_type(facilities: Facilities) -> tuple[dict[str, int], Ragged]:
    """Return a key for each type of payer there is (code system sopt), and the payers of each key."""
    codes = library.code_system("sopt").codes["code"].to_pylist()
    keys, items = [], []
    for key, code in enumerate(codes):
        exact = [row for row, kind in enumerate(facilities.payer_types) if kind == code]
        members = exact or _members(code, facilities.payer_types)
        keys += [key] * len(members)
        items += members
    return {code: key for key, code in enumerate(codes)}, Ragged.build(
        np.array(keys), np.array(items), facilities.payer_weights[items], len(codes)
    )


def _members(code: str, types: tuple[str, ...]) -> list[int]:
    """Return the payers of a type or below it; else of the nearest broader type that has any."""
    for stop in range(len(code), 0, -1):
        members = [at for at, one in enumerate(types) if one.startswith(code[:stop])]
        if members:
            return members
    return [types.index("9")]
