"""What the mapping reader says of a wrong mapping and of a wrong source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ehrsynth
from ehrsynth import resources
from ehrsynth.api import read_with_report
from ehrsynth.errors import SourceError
from ehrsynth.readers import mapping_grammar as grammar
from ehrsynth.readers.mapping_file import read_mapping
from ehrsynth.schema import clinical

MAPPING = """missing = ["?"]

[patient]
file = "people"
patient_id = "id"
birth_date = "born"
sex = { column = "sex", map = { M = "male", F = "female" } }

[[condition]]
file = "events"
patient_id = "id"
code_system = { value = "icd-10-cm" }
code = { column = "icd", as = "icd" }
recorded_date = "day"
"""
PEOPLE = "id,born,sex\n1,1950-02-03,M\n2,1980-12-31,F\n"
EVENTS = "id,icd,day\n1,I10,2001-01-01\n2,E119,2002-01-01\n"


def read(tmp_path: Path, mapping: str = MAPPING, people: str = PEOPLE, events: str = EVENTS, strict: bool = True):  # type: ignore[no-untyped-def]
    """Read two files through a mapping."""
    folder = tmp_path / "source"
    folder.mkdir(exist_ok=True)
    (folder / "people.csv").write_text(people)
    (folder / "events.csv").write_text(events)
    path = tmp_path / "my.toml"
    path.write_text(mapping)
    return read_with_report(folder, mapping=path, strict=strict)


def test_the_sound_mapping_is_read(tmp_path: Path) -> None:
    assert read(tmp_path)[0].row_counts["condition"] == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[patient]", "[patient", "The mapping is no TOML.*line 3"),
        ("missing =", "mising =", r"Line 1, key mising: .*Did you mean 'missing'"),
        ("[[condition]]", "[[conditions]]", r"Line 9, key conditions: .*Did you mean 'condition'"),
        ("birth_date =", "birthdate =", r"Line 6, key patient\.birthdate: .*Did you mean 'birth_date'"),
        ('column = "sex"', 'colum = "sex"', r"Line 7, key patient\.sex\.colum: .*Did you mean 'column'"),
        ('as = "icd"', 'as = "idc"', r"Line 13, key condition\.1\.code\.as: .*'idc'.*Did you mean 'icd'"),
        ('as = "icd"', 'as = "days"', r"A string cannot be made by 'days'"),
        ('"icd-10-cm"', '"icd10cm"', r"Line 12, .*'icd10cm' is no code system.*Did you mean 'icd-10-cm'"),
        ('{ value = "icd-10-cm" }', "{ }", r"Either column or value must be given"),
        ('code_system = { value = "icd-10-cm" }', "", r"The rule condition\.1 does not say code_system"),
        ('patient_id = "id"\ncode', "code", r"The rule does not say which patient.*Add patient_id"),
        ('map = { M = "male", F = "female" }', 'map = "sexes"', r"There is no 'sexes' among the maps"),
        ('file = "events"', 'file = "event"', r"There is no table 'event'.*Did you mean 'events'"),
        ('file = "events"', "", r"The rule names no file"),
        ('file = "events"', 'file = "events"\nkeep = { column = "icd" }', "The condition states nothing"),
        ('file = "events"', 'file = "events"\nkeep = { column = "icd", between = [2, 1] }', "ends before it begins"),
        ('file = "events"', 'file = "events"\nkeep = { column = "icd", between = [2] }', "A range has two ends"),
        ('file = "events"', 'file = "events"\nfrom = ["observation"]', "Only encounters are made from other tables"),
        ('file = "events"', 'file = "events"\nlookup = { column = "icd", in = "x" }', "no 'x' among the lookups"),
        ('missing = ["?"]', 'time_basis = "ofset"', r"'ofset' is no time basis"),
        ('missing = ["?"]', 'origin = "2000-01-01"', r"The origin is no date"),
        ('missing = ["?"]', "missing = 3", r"This must be a list of words"),
        ('column = "icd", as', 'column = "icd", part = 0, as', r"This must be a whole number from 1"),
        ('recorded_date = "day"', 'recorded_date = { column = "day", pick = "nxt" }', r"Did you mean 'next'"),
        ('recorded_date = "day"', 'recorded_date = { column = "day", pick = "next" }', r"Add order_by"),
        (
            'birth_date = "born"',
            'birth_date = { column = "born", as = "age_in_year" }',
            r"needs the column of the year",
        ),
    ],
)
def test_a_wrong_mapping(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert MAPPING.count(old) >= 1
    with pytest.raises(SourceError, match=said) as caught:
        read(tmp_path, MAPPING.replace(old, new, 1))
    assert caught.value.hint


def test_encounters_of_days_and_of_rows_are_told_apart(tmp_path: Path) -> None:
    for rule, said in (
        ('from = ["patient"]', "Encounters cannot be made from 'patient'"),
        ('from = ["condition"]\nstatus = { value = "finished" }', "has only a class"),
        ('file = "events"\npatient_id = "id"\nencounter_class = { value = "AMB" }', "Add order_by"),
    ):
        with pytest.raises(SourceError, match=said):
            read(tmp_path, f"{MAPPING}\n[encounter]\n{rule}\n")


@pytest.mark.parametrize(
    ("files", "said", "place"),
    [
        ({"people": PEOPLE.replace("1950-02-03", "1950-02-30")}, "'1950-02-30' is not a date", ("people", 1, "born")),
        ({"people": PEOPLE.replace(",F", ",X")}, "patient.sex does not have 'X'", ("people", 2, "sex")),
        ({"people": PEOPLE.replace("2,", "1,", 1)}, "The key '1' is there twice", ("people", 2, "id")),
        ({"people": PEOPLE.replace("1980-12-31", "?")}, "There is no value for birth_date", ("people", 2, "born")),
        ({"people": "id,geboren,sex\n"}, "The table has no column 'born'", ("people", None, "born")),
        ({"events": EVENTS.replace("2,E", "3,E")}, "'3' is not in the table patient", ("events", 2, "id")),
        ({"events": EVENTS.replace("2002-01-01", "soon")}, "'soon' is not a date", ("events", 2, "day")),
        ({"events": EVENTS.replace("E119", "?")}, "There is no value for code", ("events", 2, "icd")),
        ({"events": EVENTS + "1,I10\n"}, "The row has 2 fields", ("events", 3, None)),
    ],
)
def test_a_wrong_source(tmp_path: Path, files: dict[str, str], said: str, place: tuple[str, int | None, str]) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        read(tmp_path, **files)
    assert (caught.value.table, caught.value.row, caught.value.column) == place
    assert str(caught.value.file).endswith(f"{place[0]}.csv")
    assert caught.value.hint
    if place[1] is None:
        return
    records, report = read(tmp_path, **files, strict=False)
    assert sum(entry.count for entry in report.set_aside if entry.table == place[0]) == 1
    assert records.check_keys() == []
    for table, rows in report.rows_read.items():
        assert rows == report.rows_taken[table] + sum(e.count for e in report.set_aside if e.table == table)


def test_an_encounter_without_a_start_has_no_place(tmp_path: Path) -> None:
    rule = 'file = "events"\npatient_id = "id"\nstart_datetime = "day"\nencounter_class = { value = "AMB" }'
    mapping, events = f"{MAPPING}\n[encounter]\n{rule}\n", EVENTS.replace("2002-01-01", "")
    with pytest.raises(SourceError, match="The encounter has no start") as caught:
        read(tmp_path, mapping, events=events)
    assert (caught.value.row, caught.value.column) == (2, "day")
    records, report = read(tmp_path, mapping, events=events, strict=False)
    assert records.row_counts["encounter"] == 1
    assert [entry.reason for entry in report.set_aside] == ["no start"]


def test_ages_that_cannot_be(tmp_path: Path) -> None:
    mapping = MAPPING.replace('birth_date = "born"', 'birth_date = { column = "born", as = "age_years" }')
    for age in ("-3", "126", "old"):
        with pytest.raises(SourceError, match=f"'{age}' is not an age"):
            read(tmp_path, mapping, people=f"id,born,sex\n1,40,M\n2,{age},F\n")
    mapping = mapping.replace("age_years", "age_band")
    for age in ("[80-70)", "about 40"):
        with pytest.raises(SourceError, match="is not an age"):
            read(tmp_path, mapping, people=f"id,born,sex\n1,40,M\n2,{age},F\n")


def test_values_that_a_column_cannot_have(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="gives what sex cannot be") as caught:
        read(tmp_path, MAPPING.replace('F = "female"', 'F = "woman"'))
    assert "female" in str(caught.value)
    with pytest.raises(SourceError, match="is no code system"):
        read(tmp_path, MAPPING.replace('{ value = "icd-10-cm" }', '"icd"'))


@given(st.sampled_from(["", "[patient]\n", "[[condition]]\n"]), st.text(max_size=40))
def test_any_text_is_a_mapping_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, head: str, text: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "m.toml"
    path.write_bytes((head + text).encode("utf-8", "surrogatepass"))
    with pytest.raises(SourceError):
        read_mapping(path)


def test_the_json_schema_has_the_grammar() -> None:
    schema = resources.read_json("output_schemas/ehrsynth/mapping.json")
    tables = set(clinical().names)
    assert set(schema["properties"]) == {*grammar.TOP_KEYS, *tables}
    parts = schema["$defs"]
    assert set(parts["rule"]["properties"]) == set(grammar.RULE_KEYS)
    assert set(parts["recipe"]["properties"]) == set(grammar.RECIPE_KEYS)
    assert parts["recipe"]["properties"]["as"]["enum"] == list(grammar.CONVERSIONS)
    assert parts["recipe"]["properties"]["pick"]["enum"] == list(grammar.PICKS)
    assert set(parts["condition"]["properties"]) == set(grammar.CONDITION_KEYS)
    assert set(parts["entry"]["properties"]) == set(grammar.LOOKUP_KEYS)
    assert schema["properties"]["time_basis"]["enum"] == list(grammar.TIME_BASES)
    assert json.dumps(schema)


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "MAPPING.md").read_text()
    words = (*grammar.TOP_KEYS, *grammar.RULE_KEYS, *grammar.RECIPE_KEYS, *grammar.CONDITION_KEYS)
    for word in (*words, *grammar.LOOKUP_KEYS, *grammar.CONVERSIONS, *grammar.SYSTEMS, *grammar.TIME_BASES):
        assert f"`{word}`" in text or f"`{word} =" in text or f"[{word}]" in text, word


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "MAPPING.md").read_text()
    (tmp_path / "mapping.toml").write_text(text.split("```toml")[1].split("```")[0])
    (tmp_path / "people.csv").write_text("ID,BORN,SEX\n1,1950-02-03,1\n")
    (tmp_path / "visits.csv").write_text("VISIT,ID,IN,OUT\na,1,2001-01-01,2001-01-05\n")
    (tmp_path / "diagnoses.csv").write_text("ID,VISIT,ICD\n1,a,I10\n")
    assert ehrsynth.read(tmp_path).row_counts["condition"] == 1
