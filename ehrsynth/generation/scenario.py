"""Who is wanted: the words of a scenario, and what they mean to the network of a learned model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehrsynth.errors import UsageError
from ehrsynth.model import PatientModel

__all__ = ["SCENARIO", "evidence_of_trajectory"]

SCENARIO = {
    "age": "years, (from, to): at least `from` and less than `to`; at the first encounter in models of trajectories",
    "sex": "female, male, other, unknown",
    "race": "CDCREC codes",
    "ethnicity": "CDCREC codes",
    "state": "USPS codes",
    "payer": "SOPT codes",
    "condition": "ICD-10-CM codes or beginnings of codes, each of which everyone has",
    "deceased": "whether everyone has died, or nobody",
    "history_years": "records reach at most so far back from the reference date or death",
    "min_visits": "who would have fewer encounters gets further follow-up visits (nothing is conditioned)",
}
"""The words that every model is asked in; a model answers those that its network knows and refuses the others."""

_OF_TRAJECTORY = {"age": "age_at_start"}


def evidence_of_trajectory(model: PatientModel, scenario: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return `scenario` as evidence about the variables of the model's network, by their names.

    A learned model of trajectories knows how old people are at their first encounter, so that is what ``age`` asks for.
    Variables of the network may be named as they are, too.

    Raises
    ------
    UsageError
        A word that no variable of the network stands for: nothing is answered by making patients and throwing them
        away, as the rest would no longer be what the network says.
    """
    names = {variable.name for variable in model.person.variables}
    evidence = {}
    for word, value in (scenario or {}).items():
        name = _OF_TRAJECTORY.get(word, word)
        if name not in names:
            known = [*(word for word in SCENARIO if _OF_TRAJECTORY.get(word, word) in names)]
            raise UsageError(
                f"The model {model.name} cannot be asked for {word.replace('_', ' ')}: "
                "its network of the person has no such variable.",
                hint=f"It can be asked for: {', '.join(known) or 'nothing'}.",
            )
        evidence[name] = value
    return evidence
