"""What is asked of every person: translated into evidence on the network, and answered by conditioning it.

Keys: ``age`` (lowest, highest completed years, both included), ``sex``, ``race``, ``ethnicity``, ``state`` (a label,
code or name, or a collection of these), ``condition`` (keys of chronic conditions, ICD-10-CM codes or beginnings of
them, value sets or CCSR categories; all of them, and of each any), ``deceased`` (bool), ``history_years`` (the record
covers only the last years), ``min_visits`` (who would have fewer gets further visits in the years of the record).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import UsageError
from ehrsynth.model.life_course import AGES, LifeCourseModel, Listing
from ehrsynth.probability.bayesnet import BayesianNetwork, Variable, condition
from ehrsynth.terminology import ICD10CM, subset

__all__ = ["Scenario"]

Float = npt.NDArray[np.float64]

_NAMES = {
    "race": {
        "white": "2106-3",
        "black": "2054-5",
        "asian": "2028-9",
        "native": "1002-5",
        "pacific": "2076-8",
        "other": "2131-1",
    },
    "ethnicity": {"hispanic": "2135-2", "not-hispanic": "2186-5"},
    "sex": {"f": "female", "m": "male"},
    "state": {},
}
_KEYS = ("age", "sex", "race", "ethnicity", "state", "condition", "deceased", "history_years", "min_visits")


class Scenario:
    """A network given the evidence, and what cannot be said of the network.

    Parameters
    ----------
    model : LifeCourseModel
    evidence : mapping, optional

    Attributes
    ----------
    network : BayesianNetwork
        P(person | evidence), exactly.
    history_years : float or None
    min_visits : int
    codes : mapping of chronic condition to tuple of str
        Beginnings that the condition's code must have.

    Raises
    ------
    UsageError
        An unknown key, label or condition, or evidence that has probability zero.
    """

    def __init__(self, model: LifeCourseModel, evidence: Mapping[str, Any] | None) -> None:
        evidence = {key: value for key, value in (evidence or {}).items() if value is not None}
        unknown = [key for key in evidence if key not in _KEYS]
        if unknown:
            raise UsageError(f"The model knows no {unknown[0]!r} of a person.", hint=f"It knows: {', '.join(_KEYS)}.")
        network = model.person
        known: dict[int, Any] = {}
        for name in ("sex", "race", "ethnicity", "state"):
            if name in evidence:
                known[network.index(name)] = _labels(network, name, evidence[name])
        if "age" in evidence:
            known[network.index("age")] = _ages(evidence["age"])
        if "deceased" in evidence:
            known[network.index("deceased")] = int(bool(evidence["deceased"]))
        self.codes: dict[int, tuple[str, ...]] = {}
        asked = evidence.get("condition", ())
        for text in (asked,) if isinstance(asked, str) else tuple(asked):
            keys, beginnings = _condition(model, text)
            names = [f"has:{model.listing('chronic').text['key'][key]}" for key in keys]
            for key in keys if beginnings else ():
                self.codes[key] = (*self.codes.get(key, ()), *beginnings)
            number = network.index(names[0])
            for name in names[1:]:
                network, number = _either(network, number, network.index(name))
            known[number] = 1
        self.network = condition(network, known) if known else network
        self.history_years = _positive(evidence, "history_years")
        visits = _positive(evidence, "min_visits")
        self.min_visits = 0 if visits is None else int(visits)


def _positive(evidence: Mapping[str, Any], name: str) -> float | None:
    if name not in evidence:
        return None
    value = evidence[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise UsageError(f"{name} is {value!r}; it must be a number above 0.")
    return float(value)


def _labels(network: BayesianNetwork, name: str, value: Any) -> Float:
    """Return 1 for each state that is asked for."""
    variable = network.variables[network.index(name)]
    wanted = (value,) if isinstance(value, str) else value
    if not isinstance(wanted, Collection):
        raise UsageError(f"What is known of {name!r} is no label and no collection of labels: {value!r}.")
    likelihood = np.zeros(variable.cardinality)
    for one in wanted:
        label = _NAMES[name].get(str(one).lower(), str(one))
        match = [state for state in variable.states if state.lower() == label.lower()]
        if not match:
            known = ", ".join([*_NAMES[name], *variable.states])
            raise UsageError(f"The model knows no {name} {one!r}.", hint=f"It knows: {known}.")
        likelihood[variable.index(match[0])] = 1.0
    return likelihood


def _ages(value: Any) -> Float:
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        raise UsageError(f"The ages {value!r} are no pair (lowest, highest).") from None
    ages = np.arange(AGES)
    inside = (ages >= low) & (ages <= high)
    if not inside.any():
        raise UsageError(f"Nobody is between {low:g} and {high:g} years old.", hint=f"Ages are 0 to {AGES - 1}.")
    return inside.astype(np.float64)


def _condition(model: LifeCourseModel, text: str) -> tuple[list[int], tuple[str, ...]]:
    """Return the chronic conditions that `text` asks for, any of them, and what their codes must begin with."""
    chronic, codes = model.listing("chronic"), model.listing("codes")
    keys = chronic.text["key"]
    if text in keys:
        return [keys.index(text)], ()
    prefixes: tuple[str, ...] = (text.upper(),)
    found = _owners(codes, prefixes)
    # Only then: all codes of the system are read for it.
    if not found and (members := subset(ICD10CM, text)):
        prefixes = tuple(sorted(members))
        found = _owners(codes, prefixes)
    lasting = sorted(owner for owner in found if owner < len(keys))
    if not lasting:
        acute = [owner for owner in found if owner >= len(keys)]
        raise UsageError(
            f"The model has {text!r} only as an acute illness, which everybody may get."
            if acute
            else f"The model does not know the condition {text!r}.",
            hint="Ask for a chronic condition by its key, the beginning of an ICD-10-CM code (E11), a CCSR category "
            "(CIR007) or a value set of ICD-10-CM codes.",
        )
    return lasting, prefixes


def _owners(codes: Listing, prefixes: tuple[str, ...]) -> set[int]:
    """Return whose codes begin with one of `prefixes`, with or without the dot."""
    return {
        int(owner)
        for owner, code in zip(codes.integers("owner"), codes.text["code"], strict=True)
        if code.startswith(prefixes) or code.replace(".", "").startswith(prefixes)
    }


def _either(network: BayesianNetwork, one: int, other: int) -> tuple[BayesianNetwork, int]:
    """Return the network with a variable that is yes where one of two is, and the variable's number."""
    table = np.zeros((2, 2, 2))
    table[..., 1] = np.array([[0, 1], [1, 1]])
    table[..., 0] = 1 - table[..., 1]
    number = len(network.variables)
    larger = BayesianNetwork(
        variables=(*network.variables, Variable(name=f"either:{number}", states=("no", "yes"))),
        parents=(*network.parents, (one, other)),
        tables=(*network.tables, table),
    )
    return larger, number
