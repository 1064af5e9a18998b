"""Templates: what is absent is left out with its key, constants alone make nothing present, plug-ins can add."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest

from ehrsynth.exporters.fhir.datatypes import needing, quantity
from ehrsynth.exporters.fhir.resource import Addition, Resource, Source, literal_links
from ehrsynth.exporters.fhir.resources import BUILT_IN, extended
from ehrsynth.exporters.fhir.rows import Rows
from ehrsynth.exporters.fhir.templates import Each, First, Instead, Later, Many, When, compile_template
from ehrsynth.exporters.fhir.values import Boolean, Code, Count, Link, Number, Text, Time, clean_text
from ehrsynth.exporters.fragments import join
from ehrsynth.records import Records


def written(template: Any, table: dict[str, Any], **others: pa.Table) -> list[Any]:
    columns = {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in table.items()}
    rows = Rows(table=pa.table(columns), link=lambda name: f"{name}/", ids=lambda keys, kind: keys, others=others)
    texts = join(compile_template(template).piece(rows).slots, len(rows)).to_pylist()
    return [orjson.loads(text) if text else None for text in texts]


def test_constants_are_one_text() -> None:
    assert written({"a": [1, {"b": True}]}, {"x": [1, 2]}) == [{"a": [1, {"b": True}]}] * 2


def test_an_object_without_its_column_is_left_out_with_its_constants() -> None:
    template = {"kind": "person", "telecom": [{"system": "phone", "value": Text("phone")}]}
    assert written([template], {"phone": ["1", None]}) == [
        [{"kind": "person", "telecom": [{"system": "phone", "value": "1"}]}],
        None,
    ]


def test_commas_stand_between_whatever_is_there() -> None:
    template = {name: Text(name) for name in "abc"}
    table = {"a": ["1", None, None, "1"], "b": ["2", "2", None, None], "c": ["3", None, "3", "3"]}
    expected = [{"a": "1", "b": "2", "c": "3"}, {"b": "2"}, {"c": "3"}, {"a": "1", "c": "3"}]
    assert written(template, table) == expected
    items = [list(one.values()) for one in expected]
    assert written([Text("a"), Text("b"), Text("c")], table) == items


def test_needs() -> None:
    node = needing({"value": Number("v"), "unit": Text("u"), "k": "c"}, "value")
    assert written(node, {"v": [1.5, None], "u": ["mg", "mg"]}) == [{"value": 1.5, "unit": "mg", "k": "c"}, None]
    one_of = needing({"use": "official", "f": Text("f"), "g": Text("g"), "p": Text("p")}, one_of=("f", "g"))
    table = {"f": ["x", None, None], "g": [None, "y", None], "p": ["z", None, "z"]}
    assert written(one_of, table) == [{"use": "official", "f": "x", "p": "z"}, {"use": "official", "g": "y"}, None]


def test_first_instead_and_when() -> None:
    table = {"a": ["1", None, None], "b": ["2", "2", None]}
    assert written(First((Text("a"), Text("b"), compile_template("none"))), table) == ["1", "2", "none"]
    assert written(Instead((Text("a"), Text("b")), compile_template("none")), table) == [None, None, "none"]
    assert written(When("a", ("1",), Text("b")), table) == ["2", None, None]
    assert written(When("a", (None,), Text("b")), table) == [None, "2", None]
    assert written(When("a", ("1", None), Text("b")), table) == ["2", "2", None]
    assert written(When("a", ("1",), Text("b"), unless=True), table) == [None, "2", None]


def test_each_is_called_once_per_combination_and_not_without_what_it_needs() -> None:
    calls: list[tuple[Any, ...]] = []

    def make(a: Any, b: Any) -> Any:
        calls.append((a, b))
        return {"a": a} | ({"b": b} if b else {})

    table = {"a": ["x", "x", None, "x"], "b": [None, "y", "y", "y"]}
    assert written(Each(("a", "b"), make), table) == [{"a": "x"}, {"a": "x", "b": "y"}, None, {"a": "x", "b": "y"}]
    assert sorted(calls, key=str) == [("x", "y"), ("x", None)]
    calls.clear()
    assert written(Each(("a", "b"), make, needs=()), table)[2] == {"a": None, "b": "y"}


def test_later_is_a_constant() -> None:
    assert written([{"type": Later(lambda: "made"), "value": Text("v")}], {"v": ["1", None]}) == [
        [{"type": "made", "value": "1"}],
        None,
    ]
    assert written({"type": Later(lambda: "made")}, {"v": ["1"]}) == [{"type": "made"}]


def test_many_groups_the_rows_of_another_table_in_their_order() -> None:
    other = pa.table({"owner": ["b", "a", "b", "c", "b", None], "v": ["1", "2", None, None, "3", "4"]})
    node = Many("other", "owner", "key", compile_template({"v": Text("v")}))
    found = written({"items": node}, {"key": ["a", "b", "c", "d"]}, other=other)
    assert found == [{"items": [{"v": "2"}]}, {"items": [{"v": "1"}, {"v": "3"}]}, None, None]
    assert written([node], {"key": ["z"]}, other=other) == [None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('say "hi"', 'say "hi"'),
        ("  edges \n", "edges"),
        ("nul\x00 and bell\x07", "nul and bell"),
        ("   ", None),
        ("", None),
        ("\x01", None),
        ("a\nb", "a\nb"),
        ("\U0001f600 \u2028", "\U0001f600"),
    ],
)
def test_text_is_what_fhir_can_hold(text: str, expected: str | None) -> None:
    assert written(Text("t"), {"t": [text]}) == [expected]


def test_leaves() -> None:
    assert written(Code("c"), {"c": [" a  b ", "\t"]}) == ["a b", None]
    assert written(Boolean("b"), {"b": [True, False, None]}) == [True, False, None]
    assert written(Count("n", minimum=1), {"n": [1, 0, 2**31, None]}) == [1, None, None, None]
    numbers = [1.0, 0.1, -0.0, float("nan"), float("inf"), None, 1e-7]
    assert written(Number("x"), {"x": numbers}) == [1, 0.1, 0, None, None, None, 1e-7]
    assert written(Number("x"), {"x": pa.array([None, None], pa.float64())}) == [None, None]
    assert written(Link("patient"), {"patient_id": ["1", None]}) == [{"reference": "patient/1"}, None]


def test_a_time_is_as_exact_as_it_says() -> None:
    from datetime import date, datetime

    moments = [datetime(2020, 1, 2, 3, 4, 5)] * 4
    table = {"t": pa.array(moments, pa.timestamp("s")), "p": ["second", "minute", "day", None]}
    full = "2020-01-02T03:04:05Z"
    assert written(Time("t", "p"), table) == [full, full, "2020-01-02", full]
    days = {"t": pa.array([date(1990, 1, 1)] * 4), "p": ["year", "month", "day", None]}
    assert written(Time("t", "p"), days) == ["1990", "1990-01", "1990-01-01", "1990-01-01"]


def test_combinations_beyond_64_bits_are_told_apart() -> None:
    n = 3000
    columns = {name: [f"{i * (place + 1) % 2999}" for i in range(n)] for place, name in enumerate("abcdefg")}
    found = written(Each(tuple("abcdefg"), lambda *values: list(values)), columns)
    assert found == [list(values) for values in zip(*columns.values(), strict=True)]


def test_a_quantity_without_a_unit_is_a_bare_number() -> None:
    table = {"v": [1.0, 2.0, None], "u": ["mg", None, "mg"]}
    full = {"value": 1, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"}
    assert written(quantity("v", "u"), table) == [full, {"value": 2}, None]


def test_a_plug_in_adds_elements_and_resources(small_records: Records, small: Any) -> None:
    eye = {"url": "https://example.com/eye", "valueString": Text("city")}
    flag = Resource(
        type="Flag",
        table="patient",
        kind="flag",
        derived=True,
        elements={"status": "active", "subject": Link("patient")},
    )
    found = extended(BUILT_IN, [flag, Addition(type="Patient", elements={"extension": [eye], "active": True})])
    assert [one.type for one in found if one.type == "Flag"] == ["Flag"]
    block, shared = small.split(small_records)
    source = Source(block=block, shared=shared, links=literal_links)
    (patient,) = [one for one in found if one.type == "Patient"]
    first = orjson.loads(next(patient.write(source, lambda resource, ids: ((), ()))).texts[0].as_py())
    assert first["active"] is True
    assert first["extension"][-1] == {"url": "https://example.com/eye", "valueString": "Boston"}
    (ours,) = [one for one in BUILT_IN if one.type == "Patient"]
    alone = orjson.loads(next(ours.write(source, lambda resource, ids: ((), ()))).texts[0].as_py())
    assert first["extension"][:-1] == alone["extension"]
    texts = next(flag.write(source, lambda resource, ids: ((), ()))).texts.to_pylist()
    made = orjson.loads(texts[0])
    assert made["subject"] == {"reference": f"Patient/{first['id']}"}
    assert made["id"] != first["id"]


STRANGE = ['"', "\\", "a\tb", " led", "trailed ", "", "   ", "Zoë", "\u00a0x", "a\x00b", "\x7f", "plain, or so"]


@pytest.mark.parametrize("strange", [None, *STRANGE])
def test_a_column_of_plain_text_is_written_as_one_with_anything_in_it(strange: str | None) -> None:
    # One value that is not plain sends the whole column the slow way: both write the same.
    values = ["Anna", "Bo-Lee O'Neil", None, "Anna", strange, "x"]
    expected = [None if value is None else clean_text(value) for value in values]
    assert written(Text("t"), {"t": values}) == expected
    assert written(Text("t"), {"t": pa.array(["cut", *values, "off"]).slice(1, len(values))}) == expected


def test_what_is_made_of_a_code_is_kept_but_not_of_a_number() -> None:
    asked: list[Any] = []
    node = Each(("v",), lambda value: asked.append(value) or f"{value}")
    for _ in range(2):
        assert written(node, {"v": ["a"] * 8 + ["b"]}) == ["a"] * 8 + ["b"]
    assert asked == ["a", "b"]
    # Zero and minus zero are equal, and not the same.
    for zero in (0.0, -0.0):
        assert written(node, {"v": [zero] * 8}) == [str(zero)] * 8
