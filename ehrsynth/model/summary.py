"""A model in words and small tables, so that a custodian can decide whether it may leave the building."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.model.heading import Heading, heading
from ehrsynth.model.patient_model import CodeFamily, PatientModel, Trajectory
from ehrsynth.model.series_summary import SeriesSummary, series_summaries
from ehrsynth.model.wording import class_sentence, code_label, encounter_words, lean, level_labels, telling_codes
from ehrsynth.probability.bayesnet import posterior
from ehrsynth.terminology import sex_numbers

__all__ = ["FamilySummary", "ModelSummary", "StateSummary", "VariableSummary", "summarise"]

_SHOWN = 5
_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class VariableSummary:
    """A variable of the person: its levels, its parents, and the margin's commonest levels with their probabilities."""

    name: str
    levels: int
    parents: tuple[str, ...]
    commonest: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class StateSummary:
    """A hidden state: class and number within it, share of all visits, what visits in it are, where it leads.

    `name` says the class of encounter and the most telling codes; `new_codes` are the codes most likely to appear for
    the first time in it, with their probability per visit; `telling_codes` those that are so many times commoner in it
    than in all other visits: label, probability per visit, lift;
    `next_states` the likeliest next states of the same class, with the probability given that the record goes on.
    """

    trajectory_class: int
    state: int
    share: float
    name: str
    encounter_class: str
    new_codes: tuple[tuple[str, float], ...]
    telling_codes: tuple[tuple[str, float, float], ...]
    next_states: tuple[tuple[int, float], ...]
    end_hazard: float


@dataclass(frozen=True, kw_only=True)
class FamilySummary:
    """A table's codes: how many, by code system, and those most often new."""

    table: str
    codes: int
    systems: dict[str, int]
    commonest: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ModelSummary(Heading):
    """Everything `ehrsynth models show` prints."""

    sizes: dict[str, int]
    variables: tuple[VariableSummary, ...]
    classes: tuple[tuple[str, float], ...]
    states: tuple[StateSummary, ...]
    families: tuple[FamilySummary, ...]
    measurements: tuple[tuple[str, str, str], ...]
    series: tuple[SeriesSummary, ...] = ()


def summarise(model: PatientModel) -> ModelSummary:
    """Return the summary of `model`; state shares are expected visits, propagated exactly for the mean stratum."""
    dynamics = model.trajectory
    occupancy = state_occupancy(model)
    conditions = model.family("condition") or (model.families[0] if model.families else None)
    parameters = sum(table.size for table in model.person.tables) + dynamics.transition.size + dynamics.initial.size
    parameters += sum(4 * family.never.size for family in model.families)
    return ModelSummary(
        **heading(model, model.calendar.reference_date),
        sizes={
            "variables of the person": len(model.person.variables),
            "trajectory classes": dynamics.n_classes,
            "states per class": dynamics.n_states,
            **{f"codes: {family.table}": len(family.codings) for family in model.families},
            **({"series": len(model.series)} if model.series is not None else {}),
            "measurements with numbers": len(model.measurements.margins) if model.measurements else 0,
            "parameters": int(parameters),
        },
        variables=_variables(model),
        classes=tuple(_classes(model, occupancy, conditions)),
        states=tuple(_states(model, occupancy, conditions)),
        families=tuple(_family(model, family, occupancy) for family in model.families),
        measurements=_measurements(model),
        series=series_summaries(model),
    )


def _variables(model: PatientModel) -> tuple[VariableSummary, ...]:
    network = model.person
    found = []
    for index, variable in enumerate(network.variables):
        margin = posterior(network, [index], {})
        order = np.argsort(-margin, kind="stable")[:_SHOWN]
        labels = level_labels(variable.name, [variable.states[i] for i in order])
        found.append(
            VariableSummary(
                name=variable.name,
                levels=variable.cardinality,
                parents=tuple(network.variables[parent].name for parent in network.parents[index]),
                commonest=tuple((label, round(float(margin[i]), 4)) for label, i in zip(labels, order, strict=True)),
            )
        )
    return tuple(found)


def _class_weights(model: PatientModel) -> npt.NDArray[np.float64]:
    names = [variable.name for variable in model.person.variables]
    return np.asarray(posterior(model.person, [names.index("trajectory_class")], {}), dtype=float)


def _new_rates(model: PatientModel, family: CodeFamily | None) -> npt.NDArray[np.float64]:
    """P(a code is in a visit | state, never had, no parent in the visit), float [Q, C], for the mean stratum.

    Lift and structural zeros count: a code of the other sex is no candidate.
    """
    if family is None:
        return np.zeros((model.trajectory.n_classes * model.trajectory.n_states, 0))
    strata, base = model.trajectory.strata, np.asarray(family.never, dtype=float)
    rates = np.zeros_like(base)
    sexes = sex_numbers(strata.sexes)
    for r, weight in enumerate(_stratum_weights(model)):
        s, a = divmod(r, strata.n_ages)
        possible = (family.sex_limit == 0) | (family.sex_limit == sexes[s]) | (sexes[s] == 0)
        possible &= (family.age_max >= strata.age_edges[a]) & (family.age_min < strata.age_edges[a + 1])
        odds = np.asarray(family.lift[r], dtype=float) * possible
        rates += weight * base * odds / (1.0 - base + base * odds)
    return rates


def _stratum_weights(model: PatientModel) -> npt.NDArray[np.float64]:
    """P(stratum at the start of the record), float [R], from the network's sex and age."""
    strata, network = model.trajectory.strata, model.person
    names = [variable.name for variable in network.variables]
    weights = np.zeros(len(strata))
    if "age_at_start" not in names or "sex" not in names:
        return np.full(len(strata), 1.0 / len(strata))
    joint = posterior(network, [names.index("sex"), names.index("age_at_start")], {})
    age = network.variables[names.index("age_at_start")]
    edges = np.asarray(age.edges if age.edges is not None else [0.0, 1.0], dtype=float)
    middle = np.minimum((edges[:-1] + edges[1:]) / 2, 200.0)
    for s in range(min(joint.shape[0], len(strata.sexes))):
        for a, years in enumerate(middle):
            weights[strata.index(np.array([s]), np.array([years]))[0]] += joint[s, a]
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(strata), 1.0 / len(strata))


def state_occupancy(model: PatientModel) -> npt.NDArray[np.float64]:
    """Return the expected number of visits of a patient in each flat state, float [Q], for the mean stratum.

    Propagates the initial distribution through transitions and end hazards for the first 200 visits.
    """
    t = model.trajectory
    strata = _stratum_weights(model)
    weights = np.repeat(_class_weights(model)[: t.n_classes], t.n_states)
    now = weights * np.einsum("r,rq->q", strata, np.asarray(t.initial, dtype=float))
    matrices = _mean_matrices(model)
    total = np.zeros(len(now))
    gap, elapsed = _mean_gap(t), 0.0
    for visit in range(1, _STEPS + 1):
        total += now
        band = int(t.end_band(visit, np.array(round(elapsed))))
        elapsed += float(now @ gap / max(float(now.sum()), 1e-300))
        going_on = (now * (1.0 - np.asarray(t.end_hazard, dtype=float)[band])).reshape(t.n_classes, t.n_states)
        now = np.einsum("gi,gij->gj", going_on, matrices).ravel()
    return total


def _mean_matrices(model: PatientModel) -> npt.NDArray[np.float64]:
    """Return P(next state | state) for the mean stratum, of each class float [G, K, K].

    Where transitions remember a code, those of people who have had it and of people who have not, half and half.
    """
    t = model.trajectory
    sets = np.split(np.asarray(t.transition, dtype=float), 2 if t.lead >= 0 else 1)
    of_stratum = np.mean(sets, axis=0)[t.transition_stratum]
    return np.asarray(np.einsum("r,rgij->gij", _stratum_weights(model), of_stratum))


def _mean_gap(t: Trajectory) -> npt.NDArray[np.float64]:
    """Return the mean days to the next visit in each flat state, float [Q]."""
    days = t.gap_days
    weight = np.asarray(days.weight, dtype=float)
    middle = (np.asarray(days.edges[:-1]) + np.asarray(days.edges[1:]) - 1) / 2
    total = np.bincount(days.coarse, weights=weight)
    mean = np.bincount(days.coarse, weights=weight * middle) / np.maximum(total, 1e-300)
    return np.asarray(t.gap, dtype=float) @ mean


def _top_codes(family: CodeFamily | None, rates: npt.NDArray[np.float64]) -> tuple[tuple[str, float], ...]:
    if family is None or not len(rates):
        return ()
    order = np.argsort(-rates, kind="stable")[:_SHOWN]
    return tuple((code_label(family.codings[i]), round(float(rates[i]), 4)) for i in order if rates[i] > 0)


def _states(
    model: PatientModel, occupancy: npt.NDArray[np.float64], conditions: CodeFamily | None
) -> list[StateSummary]:
    t = model.trajectory
    shares = occupancy / max(occupancy.sum(), 1e-300)
    new_rates = _new_rates(model, conditions)
    everywhere = shares @ new_rates
    mean_matrix = _mean_matrices(model)
    found = []
    for q in range(t.n_classes * t.n_states):
        g, k = divmod(q, t.n_states)
        following = mean_matrix[g, k]
        likely = np.argsort(-following, kind="stable")[:3]
        rates = new_rates[q]
        elsewhere = (everywhere - shares[q] * rates) / max(1.0 - float(shares[q]), 1e-9)
        telling = telling_codes(conditions, rates, np.maximum(elsewhere, 0.0), _SHOWN)
        kind = t.encounter_classes[int(np.argmax(t.encounter_class[q]))]
        common = _top_codes(conditions, rates)
        named = [label for label, *_ in telling[:2]] or [label for label, _ in common[:1]]
        found.append(
            StateSummary(
                trajectory_class=g,
                state=k,
                share=round(float(shares[q]), 4),
                name=f"{encounter_words(kind)}: {', '.join(named) or 'no new diagnosis'}",
                encounter_class=kind,
                new_codes=common,
                telling_codes=telling,
                next_states=tuple((int(i), round(float(following[i]), 3)) for i in likely),
                end_hazard=round(float(t.end_hazard[0, q]), 4),
            )
        )
    return found


def _classes(
    model: PatientModel, occupancy: npt.NDArray[np.float64], conditions: CodeFamily | None
) -> list[tuple[str, float]]:
    """One sentence per trajectory class: visits, kind of encounter, age and sex, what sets it apart from the others."""
    t, weights, new_rates = model.trajectory, _class_weights(model), _new_rates(model, conditions)
    sentences = []
    for g in range(t.n_classes):
        block = slice(g * t.n_states, (g + 1) * t.n_states)
        visits = occupancy[block].sum() / max(weights[g], 1e-300)
        mix = occupancy[block] / max(occupancy[block].sum(), 1e-300)
        kinds = mix @ np.asarray(t.encounter_class[block], dtype=float)
        kind = int(np.argmax(kinds))
        rest = occupancy.copy()
        rest[block] = 0.0
        others = rest @ new_rates / max(rest.sum(), 1e-300)
        if t.n_classes > 1:
            telling = telling_codes(conditions, mix @ new_rates[block], others, 3)
            sentence = class_sentence(visits, t.encounter_classes[kind], kinds[kind], lean(model.person, g), telling)
        else:
            people = [*lean(model.person, g), "everybody is of this class"]
            sentence = class_sentence(visits, t.encounter_classes[kind], kinds[kind], people, None)
        sentences.append((sentence, float(weights[g])))
    return sentences


def _family(model: PatientModel, family: CodeFamily, occupancy: npt.NDArray[np.float64]) -> FamilySummary:
    systems: dict[str, int] = {}
    for coding in family.codings:
        systems[coding.system] = systems.get(coding.system, 0) + 1
    rates = occupancy @ _new_rates(model, family)
    return FamilySummary(
        table=family.table,
        codes=len(family.codings),
        systems=systems,
        commonest=tuple(label for label, _ in _top_codes(family, rates)),
    )


def _measurements(model: PatientModel) -> tuple[tuple[str, str, str], ...]:
    """Name, unit and 5 % - 50 % - 95 % of each measurement."""
    measured, family = model.measurements, model.family("observation")
    if measured is None or family is None:
        return ()
    found = []
    scores = np.array([-1.6448536269514722, 0.0, 1.6448536269514722])
    for m, margin in enumerate(measured.margins):
        low, middle, high = margin.inverse(scores)
        found.append(
            (code_label(family.codings[int(measured.code[m])]), measured.unit[m], f"{low:g} - {middle:g} - {high:g}")
        )
    return tuple(found)
