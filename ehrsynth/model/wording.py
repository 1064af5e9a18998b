"""Words for what a model holds: codes with their displays, a class of patients in one sentence, what tells a state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ehrsynth import terminology
from ehrsynth.model.patient_model import CodeFamily, Coding
from ehrsynth.probability.bayesnet import BayesianNetwork, posterior

__all__ = ["class_sentence", "code_label", "encounter_words", "lean", "level_labels", "telling_codes"]

_SYSTEMS = {
    "race": "urn:oid:2.16.840.1.113883.6.238",
    "ethnicity": "urn:oid:2.16.840.1.113883.6.238",
    "payer": "https://nahdo.org/sopt",
    "marital_status": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus",
    "language": "urn:ietf:bcp:47",
}
_ENCOUNTERS = {
    "AMB": "office or outpatient visits",
    "EMER": "emergency visits",
    "IMP": "hospital stays",
    "ACUTE": "acute hospital stays",
    "NONAC": "non-acute hospital stays",
    "OBSENC": "observation stays",
    "SS": "short stays",
    "HH": "visits at home",
    "VR": "virtual visits",
    "FLD": "visits in the field",
    "PRENC": "pre-admissions",
}
_YEARS, _POINTS = 3.0, 0.03
"""Differences of the median age and of the share of women that are worth a word."""
_LEAST_LIFT = 1.25
"""A code that is not so many times commoner than elsewhere tells nothing."""
_LEAST_SHARE = 0.01
"""Nor does one that so few visits have: its lift is noise."""


def level_labels(variable: str, levels: Sequence[str]) -> list[str]:
    """Return the levels of a variable of the person with the displays of their codes: ``White (2106-3)``."""
    if variable not in _SYSTEMS:
        return list(levels)
    found = terminology.displays(_SYSTEMS[variable], list(levels))
    return [
        level if text is None or text.casefold() == level.casefold() else f"{text} ({level})"
        for level, text in zip(levels, found, strict=True)
    ]


def code_label(coding: Coding) -> str:
    """Return code and display; where the model has no display, that of the terminology."""
    text = coding.display or terminology.display(coding.system, coding.code) or ""
    # Codes that are their own names (drugs of a source without codes) are said once.
    return coding.code if text.casefold() == coding.code.casefold() else f"{coding.code} {text}".strip()


def encounter_words(code: str) -> str:
    """Return a class of encounter in words, plural: ``hospital stays``; the code itself if it is not known."""
    return _ENCOUNTERS.get(code, code)


def telling_codes(
    family: CodeFamily | None,
    rates: npt.NDArray[np.float64],
    others: npt.NDArray[np.float64],
    count: int,
) -> tuple[tuple[str, float, float], ...]:
    """Return (label, rate, lift) of the codes that set a group of visits apart, the highest lift first.

    Parameters
    ----------
    family : CodeFamily or None
    rates, others : float64 [C]
        P(the code is new in a visit) in the group and in all other visits.
    count : int
        At most so many. The candidates are those of the largest share of the divergence between the two, rate *
        log(rate / others), so that a rare code does not stand for the group.
    """
    if family is None or not len(rates):
        return ()
    lift = rates / np.maximum(others, 1e-6)
    score = np.where((lift >= _LEAST_LIFT) & (rates >= _LEAST_SHARE), rates * np.log(np.maximum(lift, 1e-12)), 0.0)
    chosen = np.argsort(-score, kind="stable")[:count]
    chosen = chosen[score[chosen] > 0]
    chosen = chosen[np.argsort(-lift[chosen], kind="stable")]
    return tuple(
        (code_label(family.codings[i]), round(float(rates[i]), 4), round(float(min(lift[i], 1000.0)), 2))
        for i in chosen
    )


def lean(network: BayesianNetwork, trajectory_class: int) -> tuple[str, ...]:
    """Return how the people of a class differ from all in age at the start of the record and in sex, in words."""
    names = [variable.name for variable in network.variables]
    said = []
    group = names.index("trajectory_class")
    if "age_at_start" in names:
        index = names.index("age_at_start")
        joint = posterior(network, [index, group], {})
        edges = network.variables[index].edges
        if edges is not None:
            mine, everybody = (_median(p, np.asarray(edges)) for p in (joint[:, trajectory_class], joint.sum(axis=1)))
            word = "older, " if mine > everybody + _YEARS else "younger, " if mine < everybody - _YEARS else ""
            said.append(f"{word}median age {mine:.0f}" + (f" (all: {everybody:.0f})" if word else ""))
    if "sex" in names:
        index = names.index("sex")
        joint = posterior(network, [index, group], {})
        states = network.variables[index].states
        if "female" in states:
            f = states.index("female")
            mine = joint[f, trajectory_class] / max(joint[:, trajectory_class].sum(), 1e-300)
            everybody = joint[f].sum() / max(joint.sum(), 1e-300)
            word = "more women, " if mine > everybody + _POINTS else "more men, " if mine < everybody - _POINTS else ""
            said.append(f"{word}{100 * mine:.0f} % women" + (f" (all: {100 * everybody:.0f} %)" if word else ""))
    return tuple(said)


def _median(weight: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> float:
    """Return the age below which half of `weight` [bins] lies, even within a bin; bins beyond `edges` do not count."""
    share = np.concatenate([[0.0], np.cumsum(weight[: len(edges) - 1])])
    return float(np.interp(share[-1] / 2, share, np.minimum(edges, 120.0)))


def class_sentence(
    visits: float,
    kind: str,
    kind_share: float,
    people: Sequence[str],
    telling: Sequence[tuple[str, float, float]] | None,
) -> str:
    """Return a trajectory class in one sentence.

    Parameters
    ----------
    visits : float
        Expected visits of a person.
    kind, kind_share : str, float
        The commonest class of encounter and its share of the visits.
    people : sequence of str
        From `lean`.
    telling : sequence of (str, float, float) or None
        From `telling_codes`; None: there is no other class to be set apart from.
    """
    which = f"{visits:.1f} visits each, " + (
        f"all {encounter_words(kind)}" if kind_share > 0.995 else f"{100 * kind_share:.0f} % {encounter_words(kind)}"
    )
    parts = [which, *people]
    if telling:
        parts.append("set apart by " + ", ".join(f"{label} ({_times(lift)} as often)" for label, _, lift in telling))
    elif telling is not None:
        parts.append("no diagnosis sets them apart")
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def _times(lift: float) -> str:
    return f"{lift:.0f} times" if lift >= 10 else f"{lift:.1f} times"
