"""A mapping file read and checked: what is wrong with it is said with line, key and near names."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

from ehrsynth import resources
from ehrsynth.errors import SourceError
from ehrsynth.plugins import nearest
from ehrsynth.readers.mapping_grammar import (
    CONDITION_KEYS,
    CONVERSIONS,
    LOOKUP_KEYS,
    OTHER_REFUSED,
    PICKS,
    RECIPE_KEYS,
    RULE_KEYS,
    SYSTEMS,
    TIME_BASES,
    TOP_KEYS,
    Condition,
    Lookup,
    Recipe,
    Rule,
    SourceMapping,
)
from ehrsynth.schema import Column, TableSchema, clinical

__all__ = ["packaged_mappings", "read_mapping", "read_packaged"]

_PACKAGED = "output_schemas/mappings"
Place = tuple[str | int, ...]


def packaged_mappings() -> list[str]:
    """Return the names of the mappings that come with ehrsynth, sorted."""
    return sorted(
        item.name.removesuffix(".toml") for item in resources.folder(_PACKAGED).iterdir() if item.name.endswith(".toml")
    )


def read_mapping(name_or_path: str | Path) -> SourceMapping:
    """Return the mapping in a TOML file, or the packaged one of that name.

    Raises
    ------
    SourceError
        There is none, or something in it cannot be; the error says line and key.
    """
    path = Path(name_or_path)
    if not path.is_file():
        if str(name_or_path) not in packaged_mappings():
            raise SourceError(
                f"There is no mapping {str(name_or_path)!r}.",
                hint=f"Give a TOML file, or a packaged one. {nearest(str(name_or_path), packaged_mappings())}",
            )
        text = resources.read_bytes(f"{_PACKAGED}/{name_or_path}.toml").decode()
        return _Document(f"{name_or_path}.toml", text, None).mapping(str(name_or_path))
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"The mapping cannot be read: {error}.", file=path, hint="Save it as UTF-8.") from None
    return _Document(str(path), text, path.parent).mapping(path.stem)


def read_packaged(path: str) -> SourceMapping:
    """Return a mapping that is a part of ehrsynth, by the path of its resource."""
    return _Document(path, resources.read_bytes(path).decode(), None).mapping(Path(path).stem)


class _Document:
    """A mapping file on its way from text to `SourceMapping`."""

    def __init__(self, file: str, text: str, folder: Path | None) -> None:
        self.file, self.folder = file, folder
        self.lines = text.splitlines()
        try:
            self.document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SourceError(f"The mapping is no TOML: {error}.", file=file, hint="See MAPPING.md.") from None

    def mapping(self, name: str) -> SourceMapping:
        document, schema = self.document, clinical()
        for key in document:
            if key not in TOP_KEYS and key not in schema:
                self.fail("There is no such key or table.", (key,), nearest(key, (*schema.names, *TOP_KEYS)))
        if "patient" not in document:
            self.fail("No rule makes the table patient.", (), "Every other table refers to it: add [patient].")
        basis = self.word(document, "time_basis", ())
        if basis and basis not in TIME_BASES:
            self.fail(f"{basis!r} is no time basis.", ("time_basis",), f"One of: {', '.join(TIME_BASES)}.")
        origin = document.get("origin", date(2000, 1, 1))
        if type(origin) is not date:
            self.fail("The origin is no date.", ("origin",), "Write origin = 2000-01-01, without quotation marks.")
        rules = [rule for table in schema.tables for rule in self.rules(table)]
        uses = [rule.file for rule in rules]
        pairs = [(rule.file, rule.table) for rule in rules]
        labelled = [
            replace(
                rule,
                label=rule.label
                if uses.count(rule.file) == 1
                else f"{rule.label or 'source'} to {rule.table}"
                + (f" ({rule.number})" if pairs.count((rule.file, rule.table)) > 1 else ""),
            )
            for rule in rules
        ]
        return SourceMapping(
            name=self.word(document, "name", ()) or name,
            file=self.file,
            rules=tuple(labelled),
            source=self.word(document, "source", ()),
            licence=self.word(document, "licence", ()),
            time_basis=basis,
            origin=origin,
            missing=self.words(document, "missing", ()),
            folders=self.words(document, "folders", ()),
        )

    def rules(self, table: TableSchema) -> list[Rule]:
        stated = self.document.get(table.name, [])
        several = isinstance(stated, list)
        found = []
        for number, entry in enumerate(stated if several else [stated], start=1):
            place: Place = (table.name, number) if several else (table.name,)
            if not isinstance(entry, dict):
                self.fail("A rule is a table.", place, f"Write [{table.name}] or [[{table.name}]].")
            found.append(self.rule(table, entry, place, number))
        return found

    def rule(self, table: TableSchema, entry: dict[str, Any], place: Place, number: int) -> Rule:
        allowed = (*RULE_KEYS, *table.names)
        for key in entry:
            if key not in allowed:
                self.fail(f"The table {table.name} has no such column.", (*place, key), nearest(key, allowed))
        sources = self.words(entry, "from", place)
        if sources and table.name != "encounter":
            self.fail("Only encounters are made from other tables.", (*place, "from"), "Give a file instead.")
        for source in sources:
            if source not in clinical() or not clinical()[source].within_encounter:
                known = [each.name for each in clinical().tables if each.within_encounter]
                self.fail(f"Encounters cannot be made from {source!r}.", (*place, "from"), nearest(source, known))
        columns = {name: self.recipe(entry[name], (*place, name), table[name]) for name in table.names if name in entry}
        lookup = self.lookup(entry["lookup"], (*place, "lookup"), table) if "lookup" in entry else None
        if sources:
            strange = [name for name in columns if name != "encounter_class" or columns[name].value is None]
            if strange or "file" in entry:
                self.fail(
                    "An encounter made from days of other tables has only a class, a constant.",
                    (*place, strange[0] if strange else "file"),
                    'Write encounter_class = { value = "AMB" }.',
                )
        elif table.has_patient and "patient_id" not in columns:
            self.fail("The rule does not say which patient.", place, 'Add patient_id = "name of the column".')
        elif not table.has_patient and table.primary_key not in columns:
            self.fail("The rule does not say the key.", place, f'Add {table.primary_key} = "name of the column".')
        for name, recipe in columns.items():
            if recipe.pick == "next" and "order_by" not in entry:
                self.fail("The next row is not known without an order.", (*place, name), "Add order_by to the rule.")
            patient = columns.get("patient_id")
            if recipe.picks and not recipe.match and (patient is None or not patient.column):
                self.fail("It is not said which other rows belong to this one.", (*place, name), "Add match.")
        keep = entry.get("keep", [])
        return Rule(
            table=table.name,
            file=self.word(entry, "file", place).lower(),
            label=self.word(entry, "file", place),
            number=number,
            place=place,
            columns=columns,
            each=self.words(entry, "each", place),
            keep=tuple(self.condition(one, (*place, "keep")) for one in (keep if isinstance(keep, list) else [keep])),
            one_per=tuple(name.lower() for name in self.words(entry, "one_per", place)),
            order_by=self.word(entry, "order_by", place).lower(),
            lookup=lookup,
            sources=sources,
            optional=self.truth(entry, "optional", place),
            without=tuple(name.lower() for name in self.words(entry, "without", place)),
        )

    def recipe(self, stated: Any, place: Place, column: Column | None) -> Recipe:
        if isinstance(stated, str):
            return Recipe(place=place, column=stated.lower())
        if not isinstance(stated, dict):
            self.fail(
                "A column is made from the name of a source column or from a table of keys.",
                place,
                "For a constant write { value = ... }.",
            )
        self.check_keys(stated, RECIPE_KEYS, place)
        if ("column" in stated) == ("value" in stated):
            self.fail("Either column or value must be given.", place, 'E.g. { column = "SEX" } or { value = 1 }.')
        convert = self.word(stated, "as", place)
        if convert and convert not in CONVERSIONS:
            self.fail(f"There is no conversion {convert!r}.", (*place, "as"), nearest(convert, CONVERSIONS))
        if convert and column is not None and column.type not in CONVERSIONS[convert]:
            self.fail(f"A {column.type} cannot be made by {convert!r}.", (*place, "as"), "Leave it out.")
        if convert == "age_in_year" and "year" not in stated:
            self.fail("age_in_year needs the column of the year.", place, 'Add year = "name of the column".')
        pick = self.word(stated, "pick", place)
        if pick and pick not in PICKS:
            self.fail(f"{pick!r} is no way to pick.", (*place, "pick"), nearest(pick, PICKS))
        if convert == "system" and column is not None and not column.name.endswith("system"):
            self.fail("Only a code system is found by the shape of codes.", (*place, "as"), "Leave it out.")
        match = [name.lower() for name in self.words(stated, "match", place)]
        if len(match) > 2:
            self.fail("Two columns match each other.", (*place, "match"), 'Write ["own", "other"], or one name.')
        known = stated.get("map")
        other = stated.get("other", OTHER_REFUSED)
        if column is not None and column.name.endswith("system"):
            for name in (stated.get("value"), *(known.values() if isinstance(known, dict) else ())):
                self.check_system(name, place)
        return Recipe(
            place=place,
            column=self.word(stated, "column", place).lower(),
            value=stated.get("value"),
            convert=convert,
            map=None if known is None else self.named(known, "maps", (*place, "map")),
            other=None if other == "" else other,
            by=self.word(stated, "by", place),
            part=self.integer(stated, "part", place),
            factor=float(self.number(stated.get("factor", 1.0), (*place, "factor"))),
            format=self.word(stated, "format", place),
            since=self.word(stated, "from", place),
            at=self.word(stated, "at", place).lower(),
            year=self.word(stated, "year", place).lower(),
            when=self.condition(stated["when"], (*place, "when")) if "when" in stated else None,
            file=self.word(stated, "file", place).lower(),
            where=self.condition(stated["where"], (*place, "where")) if "where" in stated else None,
            match=match[-1] if match else "",
            match_own=match[0] if match else "",
            pick=pick,
            optional=self.truth(stated, "optional", place),
        )

    def condition(self, stated: Any, place: Place) -> Condition:
        if not isinstance(stated, dict) or "column" not in stated:
            self.fail("A condition names a column.", place, 'E.g. { column = "value", between = [0, 300] }.')
        self.check_keys(stated, CONDITION_KEYS, place)
        if not set(stated) & {"in", "not_in", "between", "starts", "present"}:
            self.fail("The condition states nothing.", place, "Add in, not_in, between, starts or present.")
        return Condition(
            column=self.word(stated, "column", place).lower(),
            by=self.word(stated, "by", place),
            part=self.integer(stated, "part", place),
            among=self.words(stated, "in", place) if "in" in stated else None,
            not_among=self.words(stated, "not_in", place) if "not_in" in stated else None,
            between=self.span(stated["between"], (*place, "between")) if "between" in stated else None,
            starts=self.word(stated, "starts", place),
            present=bool(stated["present"]) if "present" in stated else None,
        )

    def lookup(self, stated: Any, place: Place, table: TableSchema) -> Lookup:
        if not isinstance(stated, dict) or not isinstance(stated.get("in"), str):
            self.fail("A lookup names a column and a table of lookups.", place, '{ column = "test", in = "tests" }')
        name = stated["in"]
        recipe = self.recipe({key: value for key, value in stated.items() if key != "in"}, place, None)
        entries = self.named(name, "lookups", (*place, "in"))
        allowed = (*table.names, *LOOKUP_KEYS)
        checked: dict[str, dict[str, Any]] = {}
        for word, entry in entries.items():
            at: Place = ("lookups", name, word)
            if not isinstance(entry, dict):
                self.fail("An entry of a lookup is a table of columns.", at, '{ code = "I10", display = "..." }')
            for key, value in entry.items():
                if key not in allowed:
                    self.fail(f"The table {table.name} has no such column.", (*at, key), nearest(key, allowed))
                if key.endswith("system"):
                    self.check_system(value, (*at, key))
            checked[word] = dict(entry)
            if "between" in entry:
                checked[word]["between"] = self.span(entry["between"], (*at, "between"))
            if "factor" in entry:
                checked[word]["factor"] = self.number(entry["factor"], (*at, "factor"))
        return Lookup(recipe=recipe, name=name, entries=checked)

    def named(self, stated: Any, section: str, place: Place) -> Mapping[str, Any]:
        """Return a map or lookup: itself, or the one of that name, which may stand in a CSV file."""
        shelf = self.document.get(section, {})
        if isinstance(stated, str):
            if stated not in shelf:
                self.fail(f"There is no {stated!r} among the {section}.", place, nearest(stated, shelf))
            place = (section, stated)
            stated = shelf[stated]
        if isinstance(stated, str):
            stated = self.csv_table(stated, place, several=section == "lookups")
        if not isinstance(stated, dict):
            self.fail("A map is a table of words and values.", place, '{ M = "male", F = "female" }')
        return stated

    def csv_table(self, name: str, place: Place, *, several: bool) -> dict[str, Any]:
        """Return a CSV file beside the mapping: its first column holds the words."""
        path = (self.folder or Path()) / name
        try:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                rows = list(csv.reader(lines))
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"The table {name!r} cannot be read: {error}.", place, "It is sought beside the mapping.")
        header, body = (rows[0], [row for row in rows[1:] if row]) if rows else ([], [])
        strange = next((at for at, row in enumerate(body, start=1) if len(row) != len(header)), None)
        if len(header) < 2 or strange:
            raise SourceError(
                "The table needs a header of at least two columns, and as many values in each row.",
                file=path,
                row=strange,
                hint="The first column holds the words of the source.",
            )
        if several:
            numbers = {"between", "factor"}
            return {
                row[0]: {
                    key: float(value) if key in numbers else value
                    for key, value in zip(header[1:], row[1:], strict=True)
                    if value
                }
                for row in body
            }
        return {row[0]: row[1] for row in body}

    # -- single values -------------------------------------------------------------------------------------------------

    def check_keys(self, stated: Mapping[str, Any], allowed: Collection[str], place: Place) -> None:
        for key in stated:
            if key not in allowed:
                self.fail("There is no such key.", (*place, key), nearest(key, allowed))

    def check_system(self, name: Any, place: Place) -> None:
        if isinstance(name, str) and name and ":" not in name and name not in SYSTEMS:
            hint = f"Write its URI, or a short name. {nearest(name, SYSTEMS)}"
            self.fail(f"{name!r} is no code system.", place, hint)

    def word(self, stated: Mapping[str, Any], key: str, place: Place) -> str:
        value = stated.get(key, "")
        if not isinstance(value, str):
            self.fail("This must be text.", (*place, key), "Put it into quotation marks.")
        return value

    def words(self, stated: Mapping[str, Any], key: str, place: Place) -> tuple[str, ...]:
        value = stated.get(key, [])
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(one, (str, int, float)) for one in value):
            self.fail("This must be a list of words.", (*place, key), 'E.g. ["?", "NA"].')
        return tuple(str(one) for one in value)

    def truth(self, stated: Mapping[str, Any], key: str, place: Place) -> bool:
        value = stated.get(key, False)
        if not isinstance(value, bool):
            self.fail("This must be true or false.", (*place, key), "Without quotation marks.")
        return value

    def integer(self, stated: Mapping[str, Any], key: str, place: Place) -> int:
        value = stated.get(key, 0)
        if not isinstance(value, int) or (key in stated and value < 1):
            self.fail("This must be a whole number from 1.", (*place, key), "The first part is 1.")
        return value

    def number(self, value: Any, place: Place) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            self.fail("This must be a number.", place, "Without quotation marks.")
        return value

    def span(self, value: Any, place: Place) -> tuple[float, float]:
        if not isinstance(value, list) or len(value) != 2:
            self.fail("A range has two ends.", place, "E.g. [0, 300].")
        low, high = (float(self.number(end, place)) for end in value)
        if low > high:
            self.fail("The range ends before it begins.", place, "The lower end comes first.")
        return low, high

    def fail(self, problem: str, place: Place, hint: str) -> NoReturn:
        """Raise an error that says line and key."""
        key = ".".join(str(part) for part in place)
        at = f"Line {self.line(place)}, key {key}: " if place else ""
        raise SourceError(f"{at}{problem}", file=self.file, hint=hint)

    def line(self, place: Place) -> int:
        """Return the line on which a key stands: tomllib does not tell, so the parts are sought one after another."""
        at = 0
        for position, part in enumerate(place):
            if isinstance(part, int):
                continue
            number = place[position + 1] if position + 1 < len(place) else 1
            name = rf"[\"']?{re.escape(part)}[\"']?"
            found = [
                line
                for line in range(at, len(self.lines))
                if re.search(rf"^\s*\[+[^\]=]*\b{name}\s*[\].]|(?:^|[\s{{,.]){name}\s*=", self.lines[line])
            ]
            if found:
                at = found[min(number - 1 if isinstance(number, int) else 0, len(found) - 1)]
        return at + 1
