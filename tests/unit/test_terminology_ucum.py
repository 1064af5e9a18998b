"""UCUM's grammar: what is a unit and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehrsynth.terminology import ucum

VALID = """
1 % mg/dL mmol/L 10*3/uL 10*6/uL 10^3/uL mm[Hg] kg/m2 /min {score} mL/min/{1.73_m2} [degF] Cel [IU]/L m[IU]/mL [lb_av]
[in_i] U/L ug/mL{FEU} {INR} 10*-6 g%{total} (m/s) /(s.m) kg.m/s2 m2 s-1 cm[H2O] dag Kibit %{vol} [pH] 2.m ug/(24.h) a
mo wk d h min ng/mL{RBCs} [drp] [CFU]/mL umol/min/g meq/L mosm/kg L/min kcal/d
"""

INVALID = """
mmHg MG/DL DL cells/uL mg/dL/ (mg mg) 2m m2s .m bpm m(s) {a}{b} mg//dL () 10*3uL years lbs Celsius degF {a xg U.I. m**2
kcal/ Kcal/d hmin dwk
"""


@pytest.mark.parametrize("unit", VALID.split())
def test_units(unit: str) -> None:
    assert ucum.why_not(unit) == ""
    assert ucum.is_valid(unit)


@pytest.mark.parametrize("unit", [*INVALID.split(), "", "mg dL", "µg", "mg/dL "])
def test_what_is_no_unit(unit: str) -> None:
    assert not ucum.is_valid(unit)
    assert ucum.why_not(unit)


def test_why_not_says_what_is_meant() -> None:
    assert ucum.why_not("k/L") == "'k' is no unit; 'K' is"
    assert "ends with an operator" in ucum.why_not("mg/")
    assert "an operator is missing before 'm'" in ucum.why_not("2m")


UNITS = st.sampled_from(["m", "kg", "mL", "10*3", "[IU]", "{cells}", "2", "mm[Hg]", "%", "h", "d2", "s-1", "umol{x}"])


@given(st.lists(UNITS, min_size=1, max_size=6), st.data())
def test_units_joined_by_operators_are_units(parts: list[str], data: st.DataObject) -> None:
    joined = parts[0]
    for part in parts[1:]:
        joined += data.draw(st.sampled_from("./")) + part
    assert ucum.is_valid(joined)
    assert ucum.is_valid(f"({joined})")
    assert ucum.is_valid(f"/{joined}")
    assert not ucum.is_valid(f"{joined}.")
    assert not ucum.is_valid(f"{joined}(m)")


@given(st.text(max_size=20))
def test_any_text_has_an_answer(text: str) -> None:
    assert ucum.is_valid(text) == (ucum.why_not(text) == "")
