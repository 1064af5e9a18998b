"""OMOP location, care_site and provider as places, organizations and practitioners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.account import Known, is_true, positions
from ehrsynth.readers.omop_codes import coded_column
from ehrsynth.readers.omop_layout import Reading
from ehrsynth.readers.omop_standard import SEX, translate
from ehrsynth.readers.source import SourceTable

__all__ = ["Places", "link", "read_places"]

_NUCC = "http://nucc.org/provider-taxonomy"


@dataclass(frozen=True, kw_only=True)
class Places:
    """Shared tables, and the source tables that others refer to (None where the source has no rows of it)."""

    tables: dict[str, pa.Table]
    location: SourceTable | None
    care_site: SourceTable | None
    provider: SourceTable | None


def read_places(reading: Reading) -> Places:
    """Read location, care_site and provider.

    Choices made: a care site is an organization, with the address of its location. The locations that care sites are at
    become places (`location`), those of persons alone do not: they are homes. The first words of a provider's name are
    the given name, the last the family name; a provider without a name gets the identifier. States that are no
    two-letter codes, postal codes of other than five (or nine) digits and identifiers that are no NPI are left out.
    """
    location = _keyed(reading, "location", "location_id")
    care_site = _keyed(reading, "care_site", "care_site_id")
    provider = _keyed(reading, "provider", "provider_id")
    tables = {}
    if care_site is not None:
        care_site = link(reading, care_site, "location_id", location, "location_id")
        tables["organization"] = _organizations(care_site, location)
        if location is not None:
            tables["location"] = _locations(care_site, location)
    if provider is not None:
        provider = link(reading, provider, "care_site_id", care_site, "care_site_id")
        tables["practitioner"] = _practitioners(reading, provider)
    return Places(tables=tables, location=location, care_site=care_site, provider=provider)


def _keyed(reading: Reading, table: str, key: str) -> SourceTable | None:
    found = reading.open(table)
    if found is None:
        return None
    found = reading.account.keys(found, key)
    reading.account.close(found)
    return found if len(found) else None


def link(reading: Reading, table: SourceTable, column: str, target: SourceTable | None, key: str) -> SourceTable:
    """Return a table whose reference to another source table is sound.

    0 is none. If the other table is not there, or has no rows, the references are left out and counted; a reference to
    a row that is not there is an error, and leniently left out and counted.
    """
    if column not in table:
        return table
    table = reading.no_zero(table, column)
    values = table[column]
    if not pc.any(pc.is_valid(values)).as_py():
        return table
    account = reading.account
    if target is None:
        there = is_true(pc.is_valid(values))
        account.adjust(table, there, what="the table it leads to has no rows: reference left out", column=column)
        return table.with_column(column, pa.nulls(len(table), pa.string()))
    if account.strict:
        return account.references(table, column, Known(target.name, target[key]), required=False)
    lost = is_true(pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=target[key].combine_chunks()))))
    account.adjust(table, lost, what=f"not in {target.name}: reference left out", column=column)
    return table.with_column(column, pc.if_else(pa.array(lost), None, values))


def _matching(values: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    return pc.if_else(pc.fill_null(pc.match_substring_regex(values, pattern), False), values, None)


def address(
    location: SourceTable, at: np.ndarray[tuple[int], np.dtype[np.int64]], *, line: bool
) -> dict[str, pa.Array]:
    """Return the columns of an address for the locations at some positions (-1 for none)."""
    where = pa.array(at, mask=at < 0)
    state = _matching(pc.utf8_upper(pc.utf8_trim_whitespace(location.get("state"))), "^[A-Z]{2}$")
    # OMOP has room for nine characters: a long code has lost its dash.
    code = pc.replace_substring_regex(pc.utf8_trim_whitespace(location.get("zip")), "^([0-9]{5})([0-9]{4})$", r"\1-\2")
    code = _matching(code, "^[0-9]{5}(-[0-9]{4})?$")
    columns = {"city": location.get("city"), "state": state, "postal_code": code}
    if line:
        columns["address_line"] = location.get("address_1")
    return {name: values.take(where) for name, values in columns.items()}


def _organizations(care_site: SourceTable, location: SourceTable | None) -> pa.Table:
    key = care_site["care_site_id"]
    name = pc.coalesce(
        care_site.get("care_site_name"),
        care_site.get("care_site_source_value"),
        pc.binary_join_element_wise("Care site", key, " "),
    )
    columns = {"organization_id": key, "name": name, "organization_type_code": pa.array(["prov"] * len(care_site))}
    if location is not None:
        at = positions(care_site.get("location_id"), location["location_id"])
        columns |= address(location, at, line=True)
    return pa.table(columns)


def _locations(care_site: SourceTable, location: SourceTable) -> pa.Table:
    at = np.unique(positions(care_site.get("location_id"), location["location_id"]))
    at = at[at >= 0]
    rows = location.take(at)
    key = rows["location_id"]
    name = pc.coalesce(
        rows.get("location_source_value"), rows.get("address_1"), pc.binary_join_element_wise("Location", key, " ")
    )
    return pa.table({"location_id": key, "name": name, **address(location, at, line=True)})


def _practitioners(reading: Reading, provider: SourceTable) -> pa.Table:
    key = provider["provider_id"]
    name = pc.utf8_trim_whitespace(provider.get("provider_name"))
    parts = pc.extract_regex(name, r"^(?:(?P<given>.*\S)\s+)?(?P<family>\S+)$")
    given, family = (pc.struct_field(parts, [part]) for part in ("given", "family"))
    family = pc.if_else(pc.equal(family, ""), None, family)
    specialty = coded_column(provider, "specialty_concept_id", reading.concepts)
    nucc = [coding.code if coding.system == _NUCC else None for coding in specialty.codings]
    where = pa.array(specialty.index, mask=specialty.index < 0)
    return pa.table(
        {
            "practitioner_id": key,
            "npi": _matching(provider.get("npi"), "^[0-9]{10}$"),
            "given_name": pc.if_else(pc.equal(given, ""), None, given),
            "family_name": pc.coalesce(family, pc.binary_join_element_wise("Provider", key, " ")),
            "sex": translate(provider.get("gender_concept_id"), SEX),
            "specialty_code": pa.array(nucc, pa.string()).take(where),
            "specialty_display": pc.coalesce(
                provider.get("specialty_source_value"),
                pa.array([coding.display for coding in specialty.codings], pa.string()).take(where),
            ),
            "organization_id": provider.get("care_site_id"),
        }
    )
