"""The life-course model: a Bayesian network of who people are and have by now, and the rates and rules of a life.

A learned trajectory (`ehrsynth.model.patient_model`) holds the shape of the records that it was learned from. A life
course is built from published statistics instead: the network's margins are census, life tables and prevalences, and
what happens along a life (episodes, visits, drugs, numbers) follows rates by age and sex.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError
from ehrsynth.model.patient_model import Disclosure
from ehrsynth.probability.bayesnet import BayesianNetwork

__all__ = ["AGES", "SEXES", "LifeCourseModel", "Listing"]

Float = npt.NDArray[Any]

SEXES = ("female", "male")
"""Every array with a sex axis is in this order."""

AGES = 111
"""Every array with an age axis has a place for each completed year 0..110."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A table of the content: columns of text and of numbers, all of one length.

    Attributes
    ----------
    text : mapping of column name to tuple of str
        The empty text is "none".
    number : mapping of column name to float64 array
        NaN is "none". References to rows of other listings are numbers too, -1 for none.
    """

    text: dict[str, tuple[str, ...]]
    number: dict[str, Float]

    def __post_init__(self) -> None:
        lengths = {len(column) for column in (*self.text.values(), *self.number.values())}
        if len(lengths) > 1:
            raise ModelError(f"The columns of a listing have different lengths: {sorted(lengths)}.")

    def __len__(self) -> int:
        return len(next(iter((*self.text.values(), *self.number.values())), ()))

    def integers(self, name: str) -> npt.NDArray[np.int64]:
        """Return a column of whole numbers.

        Raises
        ------
        ModelError
            There is no such column, or it has a value that is no number.
        """
        if name not in self.number or np.isnan(self.number[name]).any():
            raise ModelError(f"The listing has no whole numbers {name!r}.")
        return np.asarray(self.number[name]).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class LifeCourseModel:
    """A life-course model in memory.

    Attributes
    ----------
    name, title, description, licence : str
    provenance : mapping
        Sources, versions; JSON-serialisable.
    reference_date : str
        ISO date on which the people are as the network says; nothing happens after it.
    person : BayesianNetwork
        ``deceased`` (no, yes: in the `deceased_years` before the reference date), ``sex``, ``age`` (completed years
        0..110: now, or at death), ``band`` (of the age), ``race``, ``ethnicity``, ``state``, ``payer``,
        ``smoking``, ``marital_status``, ``language``; one variable (no, yes) for each chronic condition that the
        person has by then, named ``has:<key>``; for the drug classes whose use is known, ``takes:<class>``.
    deceased_years : int
        How many years of deaths the population includes.
    listings : mapping of name to Listing
        ``chronic``, ``acute``, ``codes``, ``treatments``, ``monitoring``, ``labs``, ``lab_effects``,
        ``procedures``, ``immunizations``, ``allergies``, ``devices``, ``social``, ``causes``: the content, see
        ``domain_models/us_ambulatory/content/README.md`` for their columns.
    arrays : mapping of name to array
        ``prevalence`` [2, chronic, AGES], ``incidence`` [2, acute, AGES] (episodes a year), ``death_lag``
        [2, AGES, years], ``births`` [AGES] (deliveries a year), ``visits`` [2, AGES] (follow-up visits a year of a
        person without chronic conditions), ``follow_up_scale`` and ``acute_scale`` [2, AGES]; growth charts
        ``growth_*`` [2, months, 3] (L, M, S); quantile tables ``core_quantiles`` [measure, stratum, 2, ages, z].
    disclosure : Disclosure
    """

    name: str
    title: str = ""
    description: str = ""
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    reference_date: str
    person: BayesianNetwork
    deceased_years: int
    listings: dict[str, Listing]
    arrays: dict[str, Float]
    disclosure: Disclosure

    @property
    def latest_date(self) -> str:
        """ISO date at which generated records end by default."""
        return self.reference_date

    def listing(self, name: str) -> Listing:
        """Return a listing.

        Raises
        ------
        ModelError
            The model has none of that name.
        """
        if name not in self.listings:
            raise ModelError(f"The model has no listing {name!r}.")
        return self.listings[name]

    def array(self, name: str) -> npt.NDArray[np.float64]:
        """Return an array as float64.

        Raises
        ------
        ModelError
            The model has none of that name.
        """
        if name not in self.arrays:
            raise ModelError(f"The model has no array {name!r}.")
        return np.asarray(self.arrays[name], dtype=np.float64)
