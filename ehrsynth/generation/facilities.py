"""The shared tables: organizations, practitioners, locations and payers, drawn from the seed alone.

Each region (a state's three-digit ZIP area) has a hospital, primary care clinics, a specialty group and urgent care, so
that patients can be cared for where they live. Names are invented, and so are the National Provider Identifiers: ten
digits with a valid check digit that begin with 9, where real ones begin with 1 or 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import UsageError
from ehrsynth.generation.names import as_digits, name_tables, street_tables
from ehrsynth.generation.places import EVERYBODY, HomeSampler, codes_of, places
from ehrsynth.provenance import Provenance
from ehrsynth.randomness import identifiers, stream
from ehrsynth.records import Records, dictionary_column
from ehrsynth.terminology import library

__all__ = ["KINDS", "Facilities", "Staff", "facilities", "npi"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

KINDS = ("hospital", "clinic", "specialty", "urgent")
"""The kinds of organization."""

# Of each kind: how many in a region, names, and the places it has (v3-RoleCode, name).
_LAYOUT: dict[str, tuple[int, tuple[str, ...], tuple[tuple[str, str], ...]]] = {
    "hospital": (
        1,
        ("General Hospital", "Medical Center", "Regional Hospital"),
        (("ER", "Emergency Department"), ("HU", "Inpatient Wards"), ("ICU", "Intensive Care Unit")),
    ),
    "clinic": (3, ("Family Health", "Primary Care", "Community Clinic"), (("PC", "Clinic"),)),
    "specialty": (1, ("Specialty Associates", "Specialty Group"), (("OF", "Offices"),)),
    "urgent": (1, ("Urgent Care", "Walk-in Care"), (("OF", "Walk-in Center"),)),
}
# Of each kind: whom it employs (the places of the code system nucc), and how many.
_STAFF = {
    "hospital": (("emergency", 5), ("hospital", 12)),
    "clinic": (("clinic", 5),),
    "specialty": (("specialty", 10),),
    "urgent": (("clinic", 3),),
}
# Who is always there, so that no patient finds nobody: in each clinic and urgent care everybody's doctor, on the wards
# one for adults, one for children and one for all.
_ALWAYS = {
    "clinic": ("207Q00000X",),
    "emergency": ("207P00000X",),
    "hospital": ("208600000X", "208M00000X", "208000000X"),
    "specialty": ("2084N0400X",),
}

_REGIONS = 6
_NPI_FIRST = 9
_WOMEN = 0.38  # Of active physicians in the United States, 2022 (AAMC Physician Specialty Data Report).
_BORN = (1955, 1995)
_NO_DOCTOR = ("363",)  # Nurse practitioners and physician assistants are not "Dr.".


@dataclass(frozen=True, kw_only=True)
class Staff:
    """Practitioners as arrays.

    Attributes
    ----------
    organization : int64[practitioners]
        Row of the organization table.
    specialty : int64[practitioners]
        Row of the code system nucc.
    service : tuple of str
        Where in the organization: clinic, specialty, hospital (the wards) or emergency.
    """

    organization: Int
    specialty: Int
    service: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Facilities:
    """The shared tables, and what is needed to send patients to them.

    Attributes
    ----------
    records : Records
        organization, practitioner, location and payer; no patients.
    regions : tuple of str
        ``STATE ZIP3``: where the organizations are.
    kind, region : int64[organizations]
        Index into `KINDS` and `regions`.
    staff : Staff
    location_organization : int64[locations]
    location_role : tuple of str
        v3-RoleCode of each location.
    payer_types : tuple of str
        Source of Payment Typology code of each payer.
    payer_weights : float64[payers]
    homes : HomeSampler
        Draws homes in these regions.
    """

    records: Records
    regions: tuple[str, ...]
    kind: Int
    region: Int
    staff: Staff
    location_organization: Int
    location_role: tuple[str, ...]
    payer_types: tuple[str, ...]
    payer_weights: Float
    homes: HomeSampler
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


def npi(numbers: Int) -> pa.Array:
    """Return National Provider Identifiers that belong to nobody: 9, eight digits of each number, and a check digit.

    The check digit is Luhn's over the number with the prefix 80840, which adds 24 (ISO/IEC 7812; CMS, NPI check digit).
    """
    nine = _NPI_FIRST * 100_000_000 + numbers % 100_000_000
    total, rest = np.full(len(numbers), 24, dtype=np.int64), nine
    for at in range(9):
        rest, digit = np.divmod(rest, 10)
        doubled = digit * 2 if at % 2 == 0 else digit
        total += np.where(doubled > 9, doubled - 9, doubled)
    return as_digits(nine * 10 + (-total) % 10, "0000000000")


def facilities(
    seed: int,
    *,
    states: Sequence[str] | None = None,
    n_regions: int | None = None,
    payer_types: Sequence[str] = (),
) -> Facilities:
    """Return the shared tables of a seed: the same however many patients there are.

    Parameters
    ----------
    seed : int
    states : sequence of str, optional
        USPS codes of the states that need care: at least one region in each, and none elsewhere. The whole country if
        left out.
    n_regions : int, optional
        How many regions, drawn by their people without replacement; 6 if left out, or one for each state if those are
        more. A region has six organizations.
    payer_types : sequence of str, optional
        Source of Payment Typology codes of which there must be a payer, besides the usual ones.

    Raises
    ------
    UsageError
        A state that has no place, or fewer regions than states.
    """
    chosen = _choose_regions(seed, states, n_regions)
    homes = HomeSampler(chosen)
    kind = np.tile(
        np.concatenate([np.full(_LAYOUT[name][0], number) for number, name in enumerate(KINDS)]), len(chosen)
    ).astype(np.int64)
    region = np.repeat(np.arange(len(chosen)), len(kind) // len(chosen))
    words = _invented_words(seed, len(kind))
    organization = _organizations(seed, homes, kind, region, words)
    location, location_organization, roles = _locations(seed, organization, kind)
    staff, practitioner = _practitioners(seed, organization, kind)
    payer, types, payer_weights = _payers(seed, payer_types)
    provenance = Provenance(
        source="Invented organizations, practitioners, locations and payers",
        source_format="ehrsynth",
        synthetic=True,
        details={"seed": seed},
    )
    tables = {"organization": organization, "practitioner": practitioner, "location": location, "payer": payer}
    return Facilities(
        records=Records.from_tables(tables, provenance=provenance),
        regions=chosen,
        kind=kind,
        region=region,
        staff=staff,
        location_organization=location_organization,
        location_role=roles,
        payer_types=types,
        payer_weights=payer_weights,
        homes=homes,
    )


def _choose_regions(seed: int, states: Sequence[str] | None, n_regions: int | None) -> tuple[str, ...]:
    everywhere = places()
    names = everywhere.region.dictionary_encode()
    people = np.bincount(names.indices.to_numpy(), weights=everywhere.people[:, EVERYBODY])
    regions = np.array(names.dictionary.to_pylist())
    # The largest of log-weight plus Gumbel noise are a draw by weight without replacement (Efraimidis, Spirakis 2006).
    order = np.argsort(-(np.log(people) + stream(seed, "facilities.regions").gumbel(size=len(people))), kind="stable")
    state = np.array([name[:2] for name in regions])
    if states is None:
        count = _REGIONS if n_regions is None else n_regions
        if count < 1:
            raise UsageError(f"{count} regions: there must be one at least.")
        return tuple(sorted(regions[order[:count]].tolist()))
    unique = set(states)
    wanted = sorted(unique)
    unknown = [name for name in wanted if name not in state]
    if unknown or not wanted:
        raise UsageError(f"No place is known in the state {(unknown or [''])[0]!r}.", hint="Give USPS codes: MA, NY...")
    count = max(_REGIONS, len(wanted)) if n_regions is None else n_regions
    if count < len(wanted):
        raise UsageError(f"{count} regions for {len(wanted)} states.", hint="Each state needs one.")
    # Not by numpy.isin, which imports masked arrays for texts.
    inside = order[np.array([name in unique for name in state[order].tolist()], dtype=bool)]
    first = [inside[state[inside] == name][0] for name in wanted]
    taken = set(first)
    others = [number for number in inside if number not in taken]
    return tuple(sorted(regions[[*first, *others[: count - len(first)]]].tolist()))


def _invented_words(seed: int, n: int) -> list[str]:
    words = library.identity("facility_names").table("words")
    first = words.filter(pc.equal(words["part"], "first"))["word"].to_pylist()
    second = words.filter(pc.equal(words["part"], "second"))["word"].to_pylist()
    order = stream(seed, "facilities.names").permutation(len(first) * len(second))
    pairs = [first[at // len(second)] + second[at % len(second)] for at in order.tolist()]
    # More organizations than names: numbered, as chains are.
    return [pairs[at % len(pairs)] + (f" {at // len(pairs) + 1}" if at >= len(pairs) else "") for at in range(n)]


def _ids(seed: int, table: str, n: int) -> pa.Array:
    return pa.array(identifiers(seed, table, 0, n).tolist(), type=pa.string())


def _organizations(seed: int, homes: HomeSampler, kind: Int, region: Int, words: list[str]) -> pa.Table:
    everywhere, streets, n = places(), street_tables(), len(kind)
    rng = stream(seed, "facilities.organizations")
    place = homes.places_in(region, rng.random(n))
    endings = [_LAYOUT[KINDS[one]][1] for one in kind.tolist()]
    picks = rng.random(n)
    names = [
        f"{word} {ending[int(pick * len(ending))]}" for word, ending, pick in zip(words, endings, picks, strict=True)
    ]
    state = everywhere.state.take(pa.array(place))
    return pa.table(
        {
            "organization_id": _ids(seed, "organization", n),
            "name": names,
            "organization_type_code": dictionary_column(np.zeros(n), ["prov"]),
            "npi": npi(_numbers(seed, n, 0)),
            "phone": streets.telephones(codes_of(state, streets.states, other=-1, n=n), rng.random((n, 2))),
            "address_line": streets.lines(np.column_stack([rng.random((n, 3)), np.ones(n)])),
            "city": everywhere.city.take(pa.array(place)).dictionary_encode(),
            "state": state.dictionary_encode(),
            "postal_code": everywhere.postal_code.take(pa.array(place)),
            "country": dictionary_column(np.zeros(n), ["US"]),
        }
    )


def _numbers(seed: int, n: int, kind: int) -> Int:
    """Return `n` different numbers below 10**8: organizations have the even ones, practitioners the odd ones."""
    start = int(stream(seed, "facilities.npi").integers(50_000_000))
    return (((start + np.arange(n)) * 7_368_787) % 50_000_000) * 2 + kind


def _locations(seed: int, organization: pa.Table, kind: Int) -> tuple[pa.Table, Int, tuple[str, ...]]:
    rows = [(at, role, name) for at, one in enumerate(kind.tolist()) for role, name in _LAYOUT[KINDS[one]][2]]
    owner = np.array([at for at, _, _ in rows])
    roles = tuple(role for _, role, _ in rows)
    known = list(dict.fromkeys(roles))
    taken = organization.take(pa.array(owner))
    names = pc.binary_join_element_wise(taken["name"], pa.array([name for _, _, name in rows]), ", ")
    same = ("phone", "address_line", "city", "state", "postal_code", "country")
    return (
        pa.table(
            {
                "location_id": _ids(seed, "location", len(rows)),
                "name": names,
                "location_type_code": dictionary_column([known.index(role) for role in roles], known),
                "organization_id": taken["organization_id"],
                **{column: taken[column] for column in same},
            }
        ),
        owner,
        roles,
    )


def _practitioners(seed: int, organization: pa.Table, kind: Int) -> tuple[Staff, pa.Table]:
    rng, names = stream(seed, "facilities.practitioners"), name_tables()
    specialties = library.code_system("nucc").codes
    codes, place = specialties["code"].to_pylist(), specialties["place"].to_pylist()
    weight = specialties["weight"].to_numpy()
    offers = {label: np.array([row for row, at in enumerate(place) if at == label]) for label in _ALWAYS}
    employer, specialty, service = [], [], []
    for at, one in enumerate(kind.tolist()):
        for where, count in _STAFF[KINDS[one]]:
            offered = offers[where]
            share = np.cumsum(weight[offered]) / weight[offered].sum()
            drawn = offered[np.searchsorted(share, rng.random(count), side="right").clip(max=len(offered) - 1)]
            always = [codes.index(code) for code in _ALWAYS[where]]
            drawn[: len(always)] = always
            specialty.append(drawn)
            employer.append(np.full(count, at))
            service += [where] * count
    who, where_ = np.concatenate(specialty).astype(np.int64), np.concatenate(employer).astype(np.int64)
    n = len(who)
    sex = (rng.random(n) >= _WOMEN).astype(np.int64)
    born = rng.integers(*_BORN, size=n)
    given = names.draw_given(sex, born, rng.random(n))
    family = names.draw_family(np.full(n, EVERYBODY), rng.random(n))
    local = pc.binary_join_element_wise(
        names.given_ascii.take(pa.array(given)),
        names.family_ascii.take(pa.array(family)),
        pa.array(np.arange(n) + 1).cast(pa.string()),
        ".",
    )
    is_doctor = np.array([not codes[row].startswith(_NO_DOCTOR) for row in who.tolist()])
    employers = organization.take(pa.array(where_))
    table = pa.table(
        {
            "practitioner_id": _ids(seed, "practitioner", n),
            "npi": npi(_numbers(seed, n, 1)),
            "name_prefix": dictionary_column(np.where(is_doctor, 0, -1), ["Dr."]),
            "given_name": names.given.take(pa.array(given)),
            "family_name": names.family.take(pa.array(family)),
            "sex": dictionary_column(sex, ["female", "male"]),
            "specialty_code": dictionary_column(who, codes),
            "specialty_display": dictionary_column(who, specialties["display"].to_pylist()),
            "organization_id": employers["organization_id"],
            "phone": employers["phone"],
            "email": pc.binary_join_element_wise(local, "example.org", "@"),
        }
    )
    return Staff(organization=where_, specialty=who, service=tuple(service)), table


def _payers(seed: int, wanted: Sequence[str]) -> tuple[pa.Table, tuple[str, ...], Float]:
    """Return the payers: the shipped ones, then one of each wanted type that none of them has, under its own name."""
    rows = library.identity("payers").table("payers")
    types, names = rows["payer_type_code"].to_pylist(), rows["name"].to_pylist()
    codes = library.code_system("sopt").codes
    titles = dict(zip(codes["code"].to_pylist(), codes["display"].to_pylist(), strict=True))
    more = [code for code in dict.fromkeys(wanted) if code in titles and code not in types]
    types, names = types + more, names + [titles[code].capitalize() for code in more]
    weights = np.concatenate([rows["weight"].to_numpy().astype(np.float64), np.ones(len(more))])
    known = list(dict.fromkeys(types))
    table = pa.table(
        {
            "payer_id": _ids(seed, "payer", len(types)),
            "name": names,
            "payer_type_code": dictionary_column([known.index(one) for one in types], known),
        }
    )
    return table, tuple(types), weights
