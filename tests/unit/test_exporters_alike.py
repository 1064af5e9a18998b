"""What is made once for many rows that are alike is what would be made for each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.exporters.fhir.alike import Alike, made_alike
from ehrsynth.exporters.fhir.datatypes import concept, quantity
from ehrsynth.exporters.fhir.rows import Node, Rows
from ehrsynth.exporters.fhir.templates import Each, First, Instead, When, compile_template
from ehrsynth.exporters.fhir.values import Code, Link, Number, OwnId, Text, Time
from ehrsynth.exporters.fragments import constant, join

RANGE = {"low": quantity("low", "unit"), "high": quantity("high", "unit")}
TEMPLATES: dict[str, Any] = {
    "range": [RANGE],
    "some rows": When("kind", ("number",), quantity("low", "unit")),
    "others": When("kind", (None, "text"), compile_template({"a": Number("low")}), unless=True),
    "first": First((Number("low"), Code("unit"), Text("kind"))),
    "instead": Instead((Code("unit"),), compile_template({"only": Number("high"), "kind": Text("kind")})),
    "beside keys": {"who": Link("patient"), "when": Time("at"), "inside": {"own": OwnId(), "range": RANGE}},
    "nothing": [{"value": Number("nothing"), "code": concept("unit", "nothing", "nothing")}],
}


def _rows(n: int, kinds: int) -> Rows:
    rng = np.random.default_rng(n)
    choice = rng.integers(0, kinds, n)
    numbers = np.array([0.0, -0.0, np.nan, 1e21, -1.5, *np.arange(kinds)])

    def drawn(values: list[Any] | np.ndarray[Any, Any], kind: pa.DataType) -> pa.Array:
        return pa.array([values[i % len(values)] for i in choice.tolist()], kind)

    table = pa.table(
        {
            "low": drawn(numbers, pa.float64()),
            "high": drawn([None, 3.25, *numbers[5:].tolist()], pa.float64()),
            "unit": drawn(["mg", None, '\u00b5"g', " "], pa.string()).dictionary_encode(),
            "kind": drawn(["number", "text", None], pa.string()),
            "nothing": pa.nulls(n, pa.string()),
            "at": pa.array(np.arange(n), pa.timestamp("s")),
            "patient_id": [f"p{i}" for i in range(n)],
        }
    )
    # Slices: what is first is not first in its buffers.
    table = table.slice(min(3, n)).combine_chunks() if n % 2 else table.slice(min(3, n))
    ids = table["patient_id"].combine_chunks()
    return Rows(table=table, link=lambda name: f"{name}/", ids=lambda keys, kind: keys, own=ids)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize(("n", "kinds"), [(0, 1), (4, 1), (40, 3), (203, 11), (64, 200)])
def test_alike_is_each(name: str, n: int, kinds: int) -> None:
    node: Node = compile_template(TEMPLATES[name])
    one, other = node.piece(_rows(n, kinds)), made_alike(node).piece(_rows(n, kinds))
    count = len(_rows(n, kinds))
    assert join([constant(b"|"), *one.slots], count).equals(join([constant(b"|"), *other.slots], count))
    present = [np.broadcast_to(piece.present, count).tolist() for piece in (one, other)]
    assert present[0] == present[1]


def test_parts_that_read_keys_or_times_are_made_for_each_row() -> None:
    def parts(node: Any) -> list[tuple[str, ...]]:
        if isinstance(node, Alike):
            return [node.columns]
        inside = [part for _, part in getattr(node, "parts", ())] + list(getattr(node, "items", ()))
        return [found for part in inside for found in parts(part)]

    assert parts(made_alike(compile_template(TEMPLATES["beside keys"]))) == [("high", "low", "unit")]
    assert parts(made_alike(compile_template({"a": 1, "b": [{"c": "d"}]}))) == []


def test_what_is_made_of_a_combination_is_asked_for_once_in_all_tables() -> None:
    asked: list[Any] = []
    node = made_alike(
        compile_template({"a": Each(("kind", "unit"), lambda kind, unit: asked.append((kind, unit)) or kind), "b": 1})
    )
    for _ in range(3):
        node.piece(_rows(203, 6))
    assert len(asked) == len(set(asked)) > 1
