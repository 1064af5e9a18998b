"""Where people live: ZIP code areas drawn by the people of each race and ethnicity who live there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import UsageError
from ehrsynth.native import compiled
from ehrsynth.randomness import stream
from ehrsynth.terminology import library

__all__ = ["EVERYBODY", "GROUPS", "HomeSampler", "Homes", "Ragged", "codes_of", "groups_of", "places"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Labels = Any
"""Text per row: list, numpy or Arrow array (dictionaries are cheapest); None or empty where it is not known."""

GROUPS = ("white", "black", "api", "native", "multiple", "hispanic")
"""The groups of race and ethnicity that names and places are known by; `EVERYBODY` stands for an unknown one."""
EVERYBODY = len(GROUPS)

# First level of the CDC's hierarchy of race and ethnicity -> group.
_PATHS = {"R1": 3, "R2": 2, "R3": 1, "R4": 2, "R5": 0, "R9": 4}
_HISPANIC = 5
_RACE_AND_ETHNICITY = "cdcrec"


@dataclass(frozen=True, kw_only=True)
class Places:
    """ZIP code areas: Arrow arrays of text, and people per area and group, the last column everybody."""

    postal_code: pa.Array
    city: pa.Array
    state: pa.Array
    people: Float

    @cached_property
    def region(self) -> pa.Array:
        """State and first three digits of the ZIP code, ``MA 021``: what a mail centre, roughly a hospital, serves."""
        return pc.binary_join_element_wise(self.state, pc.utf8_slice_codeunits(self.postal_code, 0, 3), " ")


@lru_cache(maxsize=1)
def places() -> Places:
    """Return the shipped ZIP code areas; read once."""
    rows = library.identity("places").table("places")
    people = np.stack([rows[group].to_numpy() for group in GROUPS], axis=1).astype(np.float64)
    return Places(
        postal_code=rows["postal_code"].combine_chunks(),
        city=rows["city"].combine_chunks(),
        state=rows["state"].combine_chunks(),
        people=np.concatenate([people, people.sum(axis=1, keepdims=True)], axis=1),
    )


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """Distributions over items, one for each key, of different lengths: drawn for all rows in one search.

    Attributes
    ----------
    items : int64[m]
        Items of key 0, then of key 1, ...
    upper : float64[m]
        Key plus cumulative probability: increasing over the whole array.
    offsets : int64[keys + 1]
    """

    items: Int
    upper: Float
    offsets: Int

    @classmethod
    def build(cls, keys: Int, items: Int, weights: Float, n_keys: int) -> Ragged:
        """Return the distributions given by rows (key, item, weight); rows without weight are left out."""
        order = np.flatnonzero(weights > 0)
        order = order[np.argsort(keys[order], kind="stable")]
        keys, items, weights = keys[order], items[order], weights[order]
        offsets = np.searchsorted(keys, np.arange(n_keys + 1))
        running = np.concatenate([[0.0], np.cumsum(weights)])
        before, total = running[offsets[:-1]][keys], (running[offsets[1:]] - running[offsets[:-1]])[keys]
        return cls(items=items, upper=keys + (running[1:] - before) / total, offsets=offsets)

    def is_empty(self, keys: Int) -> npt.NDArray[np.bool_]:
        """Whether nothing can be drawn for a key; shape of `keys`."""
        empty: npt.NDArray[np.bool_] = self.offsets[keys + 1] == self.offsets[keys]
        return empty

    def draw(self, keys: Int, uniform: Float) -> Int:
        """Return an item for each row by inverting its key's distribution; -1 where there is none."""
        if not len(self.items):
            return np.full(len(keys), -1, dtype=np.int64)
        native = compiled()
        if native is not None:
            drawn = np.empty(len(keys), dtype=np.int64)
            native.ragged(
                *(self.items, self.upper, self.offsets),
                *(np.ascontiguousarray(keys, dtype=np.int64), np.ascontiguousarray(uniform), drawn),
            )
            return drawn
        found = np.searchsorted(self.upper, keys + uniform, side="right")
        # key + u rounds up to the next key for the very last u below one.
        found = np.clip(found, self.offsets[keys], np.maximum(self.offsets[keys + 1] - 1, 0))
        return np.where(self.is_empty(keys), -1, self.items[found])


def codes_of(values: Labels, known: Sequence[str] | Mapping[str, int], *, other: int, n: int) -> Int:
    """Return the position of each label in `known` (or what it is mapped to); `other` for one that is not there.

    Also for an empty label, and for all without `values`.

    Raises
    ------
    UsageError
        Not as many labels as people.
    """
    if values is None:
        return np.full(n, other, dtype=np.int64)
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(list(values), type=pa.string())
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not isinstance(column, pa.DictionaryArray):
        column = column.dictionary_encode()
    if len(column) != n:
        raise UsageError(f"{len(column)} labels for {n} people.")
    place = known if isinstance(known, Mapping) else {label: number for number, label in enumerate(known)}
    table = np.array([*(place.get(label, other) for label in column.dictionary.to_pylist()), other], dtype=np.int64)
    indices = column.indices.fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False)
    positions: Int = table[indices]
    return positions


@lru_cache(maxsize=1)
def _group_codes() -> tuple[dict[str, int], dict[str, int]]:
    """Return the group of each race code, and the codes of Hispanic ethnicity."""
    rows = library.code_system(_RACE_AND_ETHNICITY).codes
    paths = dict(zip(rows["code"].to_pylist(), rows["path"].to_pylist(), strict=True))
    races = {code: _PATHS[path[:2]] for code, path in paths.items() if path[:2] in _PATHS}
    return races, {code: _HISPANIC for code, path in paths.items() if path[:2] == "E1"}


def groups_of(race_code: Labels, ethnicity_code: Labels, n: int) -> Int:
    """Return the group of each person, shape (n,): who is Hispanic by ethnicity, else by race, else `EVERYBODY`.

    Parameters
    ----------
    race_code, ethnicity_code : labels
        Codes of the CDC's race and ethnicity code set, detailed ones as well.
    """
    races, hispanic = _group_codes()
    race = codes_of(race_code, races, other=EVERYBODY, n=n)
    ethnicity = codes_of(ethnicity_code, hispanic, other=-1, n=n)
    return np.where(ethnicity < 0, race, ethnicity)


@dataclass(frozen=True, kw_only=True)
class Homes:
    """Where the people of a block live.

    Attributes
    ----------
    place : int64[n]
        Row of `places()`.
    region : int64[n]
        Index into the regions of the sampler; -1 where it has none.
    """

    place: Int
    region: Int

    def __len__(self) -> int:
        return len(self.place)


class HomeSampler:
    """Draws homes: P(ZIP code area | group, state), within some regions or anywhere.

    Parameters
    ----------
    regions : sequence of str, optional
        ``STATE ZIP3``: the only regions to live in.
    """

    def __init__(self, regions: Sequence[str] | None = None) -> None:
        everywhere = places()
        self.regions = tuple(regions or ())
        region = codes_of(everywhere.region, self.regions, other=-1, n=len(everywhere.region))
        rows = np.flatnonzero(region >= 0) if self.regions else np.arange(len(region))
        self._region_of = region
        self.states = tuple(sorted(set(everywhere.state.take(pa.array(rows)).to_pylist())))
        state = codes_of(everywhere.state.take(pa.array(rows)), self.states, other=-1, n=len(rows))
        n_groups = EVERYBODY + 1
        people = everywhere.people[rows]
        # Two rows for each place and group: one among its state's, one among all.
        group = np.tile(np.arange(n_groups), len(rows))
        item, weight = np.repeat(rows, n_groups), people.ravel()
        inside = np.repeat(state, n_groups) * n_groups + group
        anywhere = len(self.states) * n_groups + group
        self._homes = Ragged.build(
            np.concatenate([inside, anywhere]),
            np.concatenate([item, item]),
            np.concatenate([weight, weight]),
            (len(self.states) + 1) * n_groups,
        )

    def draw(
        self,
        n: int,
        *,
        race_code: Labels = None,
        ethnicity_code: Labels = None,
        state: Labels = None,
        seed: int,
        block: int,
    ) -> Homes:
        """Return the homes of `n` people; the first k are the same for every n.

        Parameters
        ----------
        race_code, ethnicity_code : labels, optional
            CDC codes; a person of an unknown group lives where everybody does.
        state : labels, optional
            USPS codes; a person without one lives in any.

        Raises
        ------
        UsageError
            A state in which none of the regions lies.
        """
        group = groups_of(race_code, ethnicity_code, n)
        where = codes_of(state, self.states, other=-1, n=n)
        if state is not None:
            self._check_states(state)
        key = np.where(where < 0, len(self.states), where) * (EVERYBODY + 1)
        # Nobody of a group may live in a small state's regions: then as everybody does.
        key = key + np.where(self._homes.is_empty(key + group), EVERYBODY, group)
        place = self._homes.draw(key, stream(seed, "identity.home", block).random(n))
        return Homes(place=place, region=self._region_of[place])

    def places_in(self, region: Int, uniform: Float) -> Int:
        """Return a place (row of `places()`) in each region, by its people."""
        rows = np.flatnonzero(self._region_of >= 0)
        everybody = places().people[rows, EVERYBODY]
        return Ragged.build(self._region_of[rows], rows, everybody, len(self.regions)).draw(region, uniform)

    def _check_states(self, state: Labels) -> None:
        column = state if isinstance(state, pa.Array | pa.ChunkedArray) else pa.array(list(state), type=pa.string())
        distinct = {label for label in pc.unique(column).to_pylist() if label}
        unknown = sorted(distinct - set(self.states))
        if unknown:
            known = ", ".join(self.states)
            raise UsageError(f"Nobody can live in {unknown[0]!r}: there is no place.", hint=f"Known: {known}.")
