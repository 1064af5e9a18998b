"""The grammar of a mapping file: which keys there are, and what they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

__all__ = [
    "CONDITION_KEYS",
    "CONVERSIONS",
    "LOOKUP_KEYS",
    "OTHER_REFUSED",
    "PICKS",
    "RECIPE_KEYS",
    "RULE_KEYS",
    "SYSTEMS",
    "TIME_BASES",
    "TOP_KEYS",
    "Condition",
    "Lookup",
    "Recipe",
    "Rule",
    "SourceMapping",
]

TOP_KEYS = ("name", "source", "licence", "time_basis", "origin", "missing", "folders", "maps", "lookups")
"""Keys of the file beside the names of the canonical tables."""

RULE_KEYS = ("file", "optional", "without", "each", "keep", "one_per", "order_by", "lookup", "from")
"""Keys of a rule beside the names of the table's columns."""

RECIPE_KEYS = (
    "column",
    "value",
    "as",
    "map",
    "other",
    "by",
    "part",
    "factor",
    "format",
    "from",
    "at",
    "year",
    "when",
    "file",
    "where",
    "match",
    "pick",
    "optional",
)
CONDITION_KEYS = ("column", "by", "part", "in", "not_in", "between", "starts", "present")
LOOKUP_KEYS = ("between", "factor", "encounter_class")
"""Keys of an entry of a lookup beside the names of the table's columns."""

TIME_BASES = ("calendar", "shifted", "offset", "order")
PICKS = ("first", "last", "next")

CONVERSIONS = {
    # name: types of the canonical columns it can give
    "days": ("date", "datetime"),
    "hours": ("date", "datetime"),
    "minutes": ("date", "datetime"),
    "year": ("date",),
    "age_years": ("date",),
    "age_band": ("date",),
    "age_in_year": ("date",),
    "icd": ("string",),
    "system": ("string",),
}

SYSTEMS = {
    "icd-10-cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "icd-9-cm": "http://hl7.org/fhir/sid/icd-9-cm",
    "icd-10-pcs": "http://www.cms.gov/Medicare/Coding/ICD10",
    "snomed": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
    "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "ndc": "http://hl7.org/fhir/sid/ndc",
    "cvx": "http://hl7.org/fhir/sid/cvx",
    "cpt": "http://www.ama-assn.org/go/cpt",
    "hcpcs": "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
    "atc": "http://www.whocc.no/atc",
}
"""Short names of code systems; anything else is written as its URI."""


class _Refused:
    def __repr__(self) -> str:
        return "refused"


OTHER_REFUSED: Any = _Refused()
"""Stands for: a word that the map does not have is an error."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a row must be like: all that is stated holds of `column` (or of a part of it)."""

    column: str
    by: str = ""
    part: int = 0
    among: tuple[str, ...] | None = None
    not_among: tuple[str, ...] | None = None
    between: tuple[float, float] | None = None
    starts: str = ""
    present: bool | None = None

    def __str__(self) -> str:
        said = [f"part {self.part} of {self.column}" if self.part else self.column]
        if self.among is not None:
            said.append(f"is one of {', '.join(self.among)}")
        if self.not_among is not None:
            said.append(f"is none of {', '.join(self.not_among)}")
        if self.between is not None:
            said.append(f"lies in {self.between[0]:g} to {self.between[1]:g}")
        if self.starts:
            said.append(f"begins with {self.starts}")
        if self.present is not None:
            said.append("is there" if self.present else "is empty")
        return " ".join(said)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the values of a canonical column are made; see MAPPING.md for what each key means.

    `place` is where it stands in the file, for errors; `match_own` is the row's own column where `match`, the other
    row's, is called otherwise.
    """

    place: tuple[str | int, ...]
    column: str = ""
    value: Any = None
    convert: str = ""
    map: Mapping[str, Any] | None = None
    other: Any = OTHER_REFUSED
    by: str = ""
    part: int = 0
    factor: float = 1.0
    format: str = ""
    since: str = ""
    at: str = ""
    year: str = ""
    when: Condition | None = None
    file: str = ""
    where: Condition | None = None
    match: str = ""
    match_own: str = ""
    pick: str = ""
    optional: bool = False

    @property
    def picks(self) -> bool:
        """Whether the value is taken from another row."""
        return bool(self.file or self.where or self.pick)


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """Several columns at once by one word of the row.

    Attributes
    ----------
    recipe : Recipe
        Gives the word.
    name : str
    entries : mapping of word to mapping of column (or one of `LOOKUP_KEYS`) to value
    """

    recipe: Recipe
    name: str
    entries: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How rows of one file become rows of one canonical table.

    Attributes
    ----------
    table, file : str
    label : str
        What it is called in the account: the file, and the table where the file feeds several.
    number : int
        Position among the table's rules, from 1.
    place : tuple
        Where it stands in the file, for errors.
    columns : mapping of canonical column to Recipe
    each : tuple of str
        Columns of which every value becomes a row.
    keep : tuple of Condition
    one_per : tuple of str
        Columns of which each combination is taken once.
    order_by : str
    lookup : Lookup or None
    sources : tuple of str
        Tables from the days of which encounters are made (key ``from``).
    optional : bool
        Whether the rule is left out if its file is not there.
    without : tuple of str
        Files of which none may be there, or the rule is left out.
    """

    table: str
    file: str
    label: str
    number: int
    place: tuple[str | int, ...]
    columns: Mapping[str, Recipe]
    each: tuple[str, ...] = ()
    keep: tuple[Condition, ...] = ()
    one_per: tuple[str, ...] = ()
    order_by: str = ""
    lookup: Lookup | None = None
    sources: tuple[str, ...] = ()
    optional: bool = False
    without: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SourceMapping:
    """A mapping file.

    Attributes
    ----------
    name, file : str
    rules : tuple of Rule
    source, licence, time_basis : str
        As in `Provenance`; empty for what is not stated.
    origin : date
        The nominal day that days are counted from, and that a record without dates begins at.
    missing : tuple of str
        What stands for no value.
    folders : tuple of str
        Folders below the source whose tables belong to it.
    """

    name: str
    file: str
    rules: tuple[Rule, ...]
    source: str = ""
    licence: str = ""
    time_basis: str = ""
    origin: date = date(2000, 1, 1)
    missing: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    def of(self, table: str) -> tuple[Rule, ...]:
        """The rules of a canonical table."""
        return tuple(rule for rule in self.rules if rule.table == table)
