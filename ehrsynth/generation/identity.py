"""Who a patient is by name: names, address, telephone, e-mail and numbers that look right and belong to nobody.

Names follow sex, birth year and race as in the United States, home and telephone fit each other. What could belong to
somebody cannot: telephones are 555-01xx (set aside for fiction), e-mail is at example.org (RFC 2606), the numbers of
the Social Security form begin with 9 and have a group from 01 to 49 (areas 900 to 999 are never issued, and taxpayer
numbers, which use them too, have groups from 50 on), and medical record numbers are of our own system.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.generation.names import as_digits, name_tables, street_tables
from ehrsynth.generation.places import Homes, HomeSampler, Labels, codes_of, groups_of, places
from ehrsynth.randomness import BLOCK_SIZE, stream

__all__ = ["COLUMNS", "identities", "medical_record_numbers", "social_security_numbers"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

COLUMNS = (
    "name_prefix",
    "given_name",
    "middle_name",
    "family_name",
    "maiden_name",
    "address_line",
    "city",
    "state",
    "postal_code",
    "country",
    "phone",
    "email",
    "medical_record_number",
    "social_security_number",
)
"""The columns of the patient table that `identities` makes."""

_ADULT = 18
_HAS_MIDDLE_NAME = 0.8
# Of women who married a man, who took his name: 79 % (Pew Research Center, 2023).
_TOOK_A_NAME = 0.79
_HAS_PHONE = 0.97
_HAS_EMAIL = 0.75
_EVER_MARRIED = ("M", "D", "W", "L", "A", "I")

# A multiplier prime to both moduli spreads consecutive patients over the range, and stays a bijection.
_SPREAD = 15_485_863
_RECORD_NUMBERS = 10_000_000_000
_SSN_GROUPS, _SSN_SERIALS = 49, 9_999
_SSNS = 100 * _SSN_GROUPS * _SSN_SERIALS


@lru_cache(maxsize=1)
def _anywhere() -> HomeSampler:
    return HomeSampler()


def _offset(seed: int, name: str) -> int:
    return int(stream(seed, name).integers(1 << 30))


def medical_record_numbers(n: int, *, seed: int, block: int, block_size: int = BLOCK_SIZE) -> pa.Array:
    """Return a number of ten digits for each patient of a block, unlike any other patient's under the seed."""
    index = np.int64(block) * block_size + np.arange(n)
    return as_digits((index * _SPREAD + _offset(seed, "identity.record_number")) % _RECORD_NUMBERS, "0000000000")


def social_security_numbers(n: int, *, seed: int, block: int, block_size: int = BLOCK_SIZE) -> pa.Array:
    """Return a number that is never issued for each patient of a block; different for the first 48,995,100 patients."""
    index = np.int64(block) * block_size + np.arange(n)
    place = (index * _SPREAD + _offset(seed, "identity.social_security_number")) % _SSNS
    rest, serial = np.divmod(place, _SSN_SERIALS)
    area, group = np.divmod(rest, _SSN_GROUPS)
    return as_digits(((900 + area) * 100 + group + 1) * 10_000 + serial + 1, "000-00-0000")


def identities(
    n: int,
    *,
    sex: Labels,
    birth_year: Int,
    race_code: Labels = None,
    ethnicity_code: Labels = None,
    marital_status_code: Labels = None,
    state: Labels = None,
    homes: Homes | None = None,
    reference_year: int | None = None,
    seed: int,
    block: int,
    block_size: int = BLOCK_SIZE,
) -> pa.Table:
    """Return the identity columns of the patient table (`COLUMNS`) for the patients of a block.

    Each value depends on the patient's own row and inputs alone, so the first k are the same for every n.

    Parameters
    ----------
    n : int
        Patients, at most a block.
    sex : labels
        ``female``, ``male``, or anything else for either.
    birth_year : int array, shape (n,)
    race_code, ethnicity_code : labels, optional
        CDC codes; family name and home follow them.
    marital_status_code : labels, optional
        HL7's; four women in five who ever married have a maiden name.
    state : labels, optional
        USPS codes; left out when `homes` are given.
    homes : Homes, optional
        Where they live (see `Facilities.homes`); drawn from the whole country if left out.
    reference_year : int, optional
        The year that the records are of: who is an adult then has a title and may have an e-mail address; nobody has
        if it is left out.
    seed, block : int
    block_size : int
        Patients in every block: what is counted over all of them (record numbers) counts from it.

    Returns
    -------
    pyarrow.Table
        n rows; title, city, state and country are dictionaries. Empty: some middle names, telephones and addresses.

    Raises
    ------
    UsageError
        A state that has no place.
    """
    names, uniform = name_tables(), _Uniform(seed, block, n)
    if homes is None:
        homes = _anywhere().draw(
            n, race_code=race_code, ethnicity_code=ethnicity_code, state=state, seed=seed, block=block
        )
    birth_year = np.asarray(birth_year, dtype=np.int64)
    group = groups_of(race_code, ethnicity_code, n)
    gender = codes_of(sex, ("female", "male"), other=-1, n=n)
    told = gender >= 0
    gender = np.where(told, gender, (uniform("name_sex") < 0.5).astype(np.int64))
    adult = np.zeros(n, dtype=bool) if reference_year is None else reference_year - birth_year >= _ADULT
    married = codes_of(marital_status_code, _EVER_MARRIED, other=-1, n=n)

    given = names.draw_given(gender, birth_year, uniform("given_name"))
    middle = names.draw_given(gender, birth_year, uniform("middle_name"))
    family = names.draw_family(group, uniform("family_name"))
    maiden = names.draw_family(group, uniform("maiden_name"))
    no_middle = (uniform("has_middle_name") >= _HAS_MIDDLE_NAME) | (middle == given)
    took_name = (gender == 0) & (married >= 0) & (uniform("has_maiden_name") < _TOOK_A_NAME) & (maiden != family)
    # Married women are Mrs., others Ms.; men Mr. Who has no sex has a name, but no title that would tell one.
    title = np.where(gender == 1, 0, np.where(married == 0, 1, 2))
    titles = pa.array(title.astype(np.int32), mask=~(adult & told))
    constant = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, dtype=np.int32)), pa.array(["US"]))
    values = (
        pa.DictionaryArray.from_arrays(titles, pa.array(["Mr.", "Mrs.", "Ms."])),
        names.given.take(pa.array(given)),
        names.given.take(pa.array(middle, mask=no_middle)),
        names.family.take(pa.array(family)),
        names.family.take(pa.array(maiden, mask=~took_name)),
        street_tables().lines(uniform.matrix("address", 4)),
        *_place_columns(homes),
        constant,
        _phones(homes, uniform),
        _emails(given, family, adult & (uniform("has_email") < _HAS_EMAIL), block * block_size),
        medical_record_numbers(n, seed=seed, block=block, block_size=block_size),
        social_security_numbers(n, seed=seed, block=block, block_size=block_size),
    )
    return pa.table(list(values), names=list(COLUMNS))


class _Uniform:
    """Uniform numbers by name: each name has its own stream, so a new one moves nobody else's numbers."""

    def __init__(self, seed: int, block: int, n: int) -> None:
        self._seed, self._block, self._n = seed, block, n

    def __call__(self, name: str) -> Float:
        return stream(self._seed, f"identity.{name}", self._block).random(self._n)

    def matrix(self, name: str, width: int) -> Float:
        # Row by row: what a patient gets does not depend on how many there are.
        return stream(self._seed, f"identity.{name}", self._block).random((self._n, width))


def _place_columns(homes: Homes) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return city, state and postal code; the dictionaries hold only what occurs."""
    known, rows = places(), pa.array(homes.place)
    return (
        known.city.take(rows).dictionary_encode(),
        known.state.take(rows).dictionary_encode(),
        known.postal_code.take(rows),
    )


@lru_cache(maxsize=1)
def _state_of_place() -> Int:
    state = places().state
    return codes_of(state, street_tables().states, other=-1, n=len(state))


def _phones(homes: Homes, uniform: _Uniform) -> pa.Array:
    numbers = street_tables().telephones(_state_of_place()[homes.place], uniform.matrix("phone", 2))
    return pc.if_else(pa.array(uniform("has_phone") < _HAS_PHONE), numbers, pa.scalar(None, pa.string()))


def _emails(given: Int, family: Int, has_one: npt.NDArray[np.bool_], first: int) -> pa.Array:
    names = name_tables()
    local = pc.binary_join_element_wise(
        names.given_ascii.take(pa.array(given, mask=~has_one)), names.family_ascii.take(pa.array(family)), "."
    )
    number = pa.array(first + np.arange(len(given)) + 1).cast(pa.string())
    return pc.binary_join_element_wise(local, number, "@example.org", "")
