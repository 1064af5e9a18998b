"""Names of people by sex, birth year and race; streets; numbers as text: all drawn for whole blocks."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.generation.places import EVERYBODY, GROUPS, Ragged
from ehrsynth.terminology import library

__all__ = ["NameTables", "StreetTables", "as_digits", "name_tables", "street_tables"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_SEXES = ("female", "male")


@dataclass(frozen=True, kw_only=True)
class NameTables:
    """First and family names with their distributions.

    Attributes
    ----------
    given, family : pyarrow.StringArray
        The names.
    given_ascii, family_ascii : pyarrow.StringArray
        The same as in an e-mail address: lower case, letters only.
    given_by : Ragged
        By ``sex * periods + period``: sex 0 female, 1 male.
    family_by : Ragged
        By group, the last everybody.
    first_year, n_periods : int
        Periods of five years from this one on.
    """

    given: pa.Array
    family: pa.Array
    given_ascii: pa.Array
    family_ascii: pa.Array
    given_by: Ragged
    family_by: Ragged
    first_year: int
    n_periods: int

    def draw_given(self, sex: Int, birth_year: Int, uniform: Float) -> Int:
        """Return the row of a first name for each person (sex 0 female, 1 male); a year outside the data is its end."""
        period = np.clip((birth_year - self.first_year) // 5, 0, self.n_periods - 1)
        return self.given_by.draw(sex * self.n_periods + period, uniform)

    def draw_family(self, group: Int, uniform: Float) -> Int:
        """Return the row of a family name for each person of a group (see `places.groups_of`)."""
        return self.family_by.draw(group, uniform)


def _ascii(names: list[str]) -> pa.Array:
    return pa.array([_letters(name) for name in names], type=pa.string())


def _letters(name: str) -> str:
    # Nearly all names are ASCII letters: they need not be looked at one by one.
    if not name.isascii():
        name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return name.lower() if name.isalpha() else "".join(filter(str.isalpha, name.lower()))


@lru_cache(maxsize=1)
def name_tables() -> NameTables:
    """Return the shipped names; read once."""
    first = library.identity("given_names").table("names")
    encoded = first["name"].combine_chunks().dictionary_encode()
    years = first["period"].to_numpy()
    start, n_periods = int(years.min()), int((years.max() - years.min()) // 5 + 1)
    sex = pc.index_in(first["sex"], value_set=pa.array(_SEXES)).to_numpy().astype(np.int64)
    last = library.identity("family_names").table("names")
    weights = np.stack([last[group].to_numpy() for group in GROUPS], axis=1)
    weights = np.concatenate([weights, weights.sum(axis=1, keepdims=True)], axis=1)
    n_last = last.num_rows
    given, family = encoded.dictionary, last["name"].combine_chunks()
    return NameTables(
        given=given,
        family=family,
        given_ascii=_ascii(given.to_pylist()),
        family_ascii=_ascii(family.to_pylist()),
        given_by=Ragged.build(
            sex * n_periods + (years - start) // 5,
            encoded.indices.to_numpy().astype(np.int64),
            first["births"].to_numpy().astype(np.float64),
            len(_SEXES) * n_periods,
        ),
        family_by=Ragged.build(
            np.tile(np.arange(EVERYBODY + 1), n_last),
            np.repeat(np.arange(n_last), EVERYBODY + 1),
            weights.ravel(),
            EVERYBODY + 1,
        ),
        first_year=start,
        n_periods=n_periods,
    )


@dataclass(frozen=True, kw_only=True)
class StreetTables:
    """Streets and telephone area codes with their distributions."""

    names: pa.Array
    suffixes: pa.Array
    names_by: Ragged
    suffixes_by: Ragged
    states: tuple[str, ...]
    area_codes: Int
    area_codes_by: Ragged

    def lines(self, uniform: Float) -> pa.Array:
        """Return a street address for each row of `uniform`, shape (n, 4): number, name, suffix, apartment.

        House numbers are log-uniform from 10 to 9,999; one address in eight has an apartment.
        """
        one = np.zeros(len(uniform), dtype=np.int64)
        number = pa.array(np.floor(10.0 ** (1.0 + 3.0 * uniform[:, 0])).astype(np.int64)).cast(pa.string())
        name = self.names.take(pa.array(self.names_by.draw(one, uniform[:, 1])))
        suffix = self.suffixes.take(pa.array(self.suffixes_by.draw(one, uniform[:, 2])))
        apartment = (uniform[:, 3] * 8 * 99).astype(np.int64) + 1
        flat = pa.array(apartment, mask=apartment > 99).cast(pa.string())
        flat = pc.binary_join_element_wise("Apt", flat, " ")
        return pc.binary_join_element_wise(number, name, suffix, flat, " ", null_handling="skip")

    def telephones(self, state: Int, uniform: Float) -> pa.Array:
        """Return a number for each state (index into `states`), of the exchange set aside for fiction.

        `uniform` has the shape (n, 2). In every area code the numbers 555-0100 to 555-0199 are given to nobody
        (North American Numbering Plan, ATIS-0300115).
        """
        area = self.area_codes[self.area_codes_by.draw(state, uniform[:, 0])]
        return as_digits(area * 10_000_000 + 5_550_100 + (uniform[:, 1] * 100).astype(np.int64), "000-000-0000")


@lru_cache(maxsize=1)
def street_tables() -> StreetTables:
    """Return the shipped streets and area codes; read once."""
    streets = library.identity("streets")
    names, suffixes = streets.table("names"), streets.table("suffixes")
    codes = library.identity("telephones").table("area_codes")
    states = tuple(sorted(set(codes["state"].to_pylist())))
    state = np.array([states.index(label) for label in codes["state"].to_pylist()])
    n = codes.num_rows

    def single(weights: Float) -> Ragged:
        return Ragged.build(np.zeros(len(weights), dtype=np.int64), np.arange(len(weights)), weights, 1)

    return StreetTables(
        names=names["name"].combine_chunks(),
        suffixes=suffixes["suffix"].combine_chunks(),
        names_by=single(names["weight"].to_numpy()),
        suffixes_by=single(suffixes["weight"].to_numpy()),
        states=states,
        area_codes=np.array(codes["area_code"].to_pylist(), dtype=np.int64),
        area_codes_by=Ragged.build(state, np.arange(n), np.ones(n), len(states)),
    )


def as_digits(numbers: Int, template: str) -> pa.Array:
    """Return each number as text in the shape of `template`, whose zeros stand for its digits.

    Examples
    --------
    >>> as_digits(np.array([912345678]), "000-00-0000").to_pylist()
    ['912-34-5678']
    """
    width = len(template)
    text = np.empty((len(numbers), width), dtype=np.uint8)
    text[:] = np.frombuffer(template.encode(), dtype=np.uint8)
    rest = numbers
    for at in range(width - 1, -1, -1):
        if template[at] == "0":
            rest, digit = np.divmod(rest, 10)
            text[:, at] += digit.astype(np.uint8)
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * width
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(text))
