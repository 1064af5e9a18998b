"""The parts of validation by themselves: primitive types, check digits, value sets, patterns, findings, integrity."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehrsynth.validation.fhir_invariants import INVARIANTS
from ehrsynth.validation.fhir_primitives import PRIMITIVES, is_later, parse_when
from ehrsynth.validation.fhir_profiles import matches
from ehrsynth.validation.fhir_requirements import requirements
from ehrsynth.validation.fhir_value_sets import ANY, expand
from ehrsynth.validation.findings import Findings
from ehrsynth.validation.identifiers import npi_is_valid, valid_npis

FITS = {
    "base64Binary": ["aGk=", "aGkh\naGkh"],
    "boolean": [True, False],
    "canonical": ["http://x.org/a|1"],
    "code": ["a", "a b"],
    "date": ["2020", "2020-02", "2020-02-29"],
    "dateTime": ["2020", "2020-01-01T00:00:00Z", "2020-01-01T23:59:60.123+14:00"],
    "decimal": [1, 1.5, -0.0, 1e30],
    "id": ["a-1.B", "x" * 64],
    "instant": ["2020-01-01T00:00:00.000Z"],
    "integer": [0, -5, 2**31 - 1],
    "markdown": ["*a*"],
    "oid": ["urn:oid:2.16.840.1"],
    "positiveInt": [1],
    "string": ["a", " a "],
    "time": ["23:59:59", "00:00:00.1"],
    "unsignedInt": [0],
    "uri": ["urn:x", "a"],
    "url": ["http://x"],
    "uuid": ["urn:uuid:c757873d-ec9a-4326-a141-556f43239520"],
    "xhtml": ["<div xmlns='http://www.w3.org/1999/xhtml'>a</div>"],
}
MISFITS = {
    "base64Binary": ["a", 1],
    "boolean": ["true", 0, None],
    "canonical": ["a b"],
    "code": ["", " a", "a  b", "a\t"],
    "date": ["2020-13", "2020-02-30", "2020-1-1", "0000", "2020-01-01T00:00:00Z", 2020],
    "dateTime": ["2020-01-01T00:00Z", "2020-01-01T00:00:00", "2020-01-01T24:00:00Z", "2020-01-01T00:00:00+15:00"],
    "decimal": ["1", True, None],
    "id": ["", "x" * 65, "a_b", "ä"],
    "instant": ["2020-01-01", "2020-01-01T00:00:00"],
    "integer": [1.0, True, 2**31],
    "markdown": [""],
    "oid": ["urn:oid:3.1", "2.16"],
    "positiveInt": [0],
    "string": ["", " \n", 1],
    "time": ["24:00:00", "1:00:00"],
    "unsignedInt": [-1],
    "uri": ["", "a b"],
    "url": [7],
    "uuid": ["urn:uuid:C757873D-EC9A-4326-A141-556F43239520"],
    "xhtml": ["<p>a</p>"],
}


@pytest.mark.parametrize("kind", PRIMITIVES)
def test_primitive_types(kind: str) -> None:
    assert all(PRIMITIVES[kind](value) for value in FITS[kind])
    assert not any(PRIMITIVES[kind](value) for value in MISFITS[kind])


def test_dates_mean_days() -> None:
    year, month, day = (parse_when(text) for text in ("2020", "2020-02", "2020-02-29"))
    assert year is not None and month is not None and day is not None
    assert year.last - year.first == 365
    assert month.last - month.first == 28
    assert day.first == day.last == month.last
    assert parse_when("9999-12") is not None


def test_later_only_where_it_is_sure() -> None:
    def later(first: str, second: str) -> bool:
        a, b = parse_when(first), parse_when(second)
        assert a is not None and b is not None
        return is_later(a, b)

    assert later("2020-01-02", "2020-01-01")
    assert not later("2020", "2020-01-01")
    assert not later("2020-06-01T23:00:00Z", "2020-06-01")
    assert later("2020-06-02T00:00:00Z", "2020-06-01")
    # The same instant in two zones, and one second after it.
    assert not later("2020-06-02T00:30:00+02:00", "2020-06-01T22:30:00Z")
    assert later("2020-06-01T22:30:01Z", "2020-06-02T00:30:00+02:00")


def test_npi_check_digits() -> None:
    # The example of CMS's note on the check digit.
    assert npi_is_valid("1234567893")
    assert not any(npi_is_valid(f"123456789{digit}") for digit in range(10) if digit != 3)
    assert not any(
        npi_is_valid(text) for text in ("", "123456789", "12345678933", "123456789x", "１２３４５６７８９３")
    )
    assert valid_npis(pa.array(["1234567893", None, "1234567890"])).to_pylist() == [True, True, False]


@given(st.integers(min_value=0, max_value=10**9 - 1))
def test_just_one_digit_fits(number: int) -> None:
    assert sum(npi_is_valid(f"{number:09d}{digit}") for digit in range(10)) == 1


def test_patterns_ask_for_what_they_have() -> None:
    pattern = {"coding": [{"system": "s", "code": "c"}]}
    assert matches({"coding": [{"code": "x"}, {"system": "s", "code": "c", "display": "d"}], "text": "t"}, pattern)
    assert not matches({"coding": [{"system": "s"}, {"code": "c"}]}, pattern)
    assert not matches({"coding": {"system": "s", "code": "c"}}, pattern)
    assert not matches("c", pattern)


def test_value_sets_are_never_too_narrow() -> None:
    systems = {
        "S": {
            "url": "S",
            "content": "complete",
            "concept": [{"code": "a", "concept": [{"code": "b", "concept": [{"code": "c"}]}]}, {"code": "d"}],
        },
        "V": {
            "url": "V",
            "content": "complete",
            "concept": [{"code": "x"}, {"code": "y", "property": [{"code": "subsumedBy", "valueCode": "x"}]}],
        },
    }

    def of(*includes: dict[str, object], exclude: list[dict[str, object]] | None = None) -> object:
        sets = {
            "U": {"compose": {"include": list(includes), "exclude": exclude or []}},
            "W": {"compose": {"include": [{"system": "S"}]}},
        }
        return expand("U|1.0", sets, systems)

    def below(op: str, value: str, system: str = "S") -> dict[str, object]:
        return {"system": system, "filter": [{"property": "concept", "op": op, "value": value}]}

    assert of({"system": "S"}) == {"S": {"a", "b", "c", "d"}}
    assert of({"system": "S", "concept": [{"code": "a"}]}, {"system": "T"}) == {"S": {"a"}, "T": {ANY}}
    assert of(below("is-a", "b")) == {"S": {"b", "c"}}
    assert of(below("descendent-of", "a")) == {"S": {"b", "c"}}
    assert of(below("is-a", "x", "V")) == {"V": {"x", "y"}}
    assert of({"system": "S", "filter": [{"property": "other", "op": "=", "value": "1"}]}) == {"S": {ANY}}
    assert of({"valueSet": ["W"]}, exclude=[{"system": "S", "concept": [{"code": "a"}]}]) == {"S": {"b", "c", "d"}}
    assert of({"system": "S", "valueSet": ["W"], "concept": [{"code": "a"}, {"code": "z"}]}) == {"S": {"a"}}
    assert of({"valueSet": ["unknown"]}) is None
    assert expand("none", {}, {}) is None


def test_every_invariant_holds_for_an_empty_object_or_asks_for_something() -> None:
    odd: list[object] = [None, 1, "x", [], [1], {}, {"coding": 3}, [{"coding": [7]}]]
    names = [
        "value",
        "valueQuantity",
        "code",
        "system",
        "start",
        "low",
        "high",
        "who",
        "identifier",
        "div",
        "contained",
    ]
    for invariant in INVARIANTS:
        assert isinstance(invariant.holds({}), bool)
        for value in odd:  # whatever shape an object has, an invariant answers
            assert isinstance(bool(invariant.holds(dict.fromkeys(names, value))), bool)


def test_every_invariant_of_a_profile_is_known_or_left_out_on_purpose() -> None:
    rules = requirements()
    asked: set[str] = set()

    def walk(node: dict[str, object]) -> None:
        asked.update(node.get("invariants", ()))  # type: ignore[arg-type]
        for child in [*node.get("children", {}).values(), *node.get("slices", ())]:  # type: ignore[attr-defined, misc]
            walk(child)

    for profile in rules.profiles.values():
        walk(dict(profile.root))
    assert asked - set(rules.invariants) == {"us-core-5", "us-core-16", "us-core-17", "sdcqr-1", "sdcqr-2"}


def test_every_type_compiles() -> None:
    rules = requirements()
    assert len(rules.resource_types) == 147
    for name in rules.resource_types:
        for element in rules.type(name).elements.values():
            assert element.valid is not None or rules.type(element.type).name == element.type
    observation = rules.type("Observation")
    assert [slot for slot, _ in observation.required] == ["status", "code"]
    assert {element.name for element in rules.choices("Observation", "effective")} == {
        "effectiveDateTime", "effectivePeriod", "effectiveTiming", "effectiveInstant"
    }  # fmt: skip
    assert observation.elements["subject"].targets == {"Patient", "Group", "Device", "Location"}
    assert rules.type("Observation.component").elements["referenceRange"].type == "Observation.referenceRange"


def test_findings_count_and_keep_the_first_example() -> None:
    findings = Findings()
    findings.add("orphan", "a.b", "first", count=2)
    findings.add("orphan", "a.b", "second")
    findings.add("unknown-code", "a.c", "x", detail="System: s.")
    issues = findings.issues()
    assert [(issue.check, issue.count, issue.example) for issue in issues] == [
        ("orphan", 3, "first"),
        ("unknown-code", 1, "x"),
    ]
    assert issues[1].message.endswith("System: s.")
    for number in range(200):
        findings.add("unknown-code", "a.d", "x", detail=str(number))
    many = [issue for issue in findings.issues() if issue.place == "a.d"]
    assert len(many) == 51
    assert sum(issue.count for issue in many) == 200
