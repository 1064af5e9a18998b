"""A patient model as pomegranate's objects, for those who work with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ehrsynth.errors import UsageError
from ehrsynth.model.patient_model import PatientModel
from ehrsynth.probability.hmm import HiddenMarkovModel

__all__ = ["PomegranateModel", "as_pomegranate", "encounter_chain"]


@dataclass(frozen=True, kw_only=True)
class PomegranateModel:
    """What of a patient model pomegranate can hold.

    Attributes
    ----------
    person : pomegranate.bayesian_network.BayesianNetwork
        All of the network; variables and states by their numbers in ``model.person.variables``.
    trajectory : pomegranate.hmm.DenseHMM
        Of one stratum: the encounter classes of a record, over flat states.
    """

    person: Any
    trajectory: Any


def encounter_chain(model: PatientModel, stratum: int = 0) -> HiddenMarkovModel:
    """Return the hidden Markov model of the encounter classes of one stratum's records.

    Over flat states, classes in the shares of the whole network. People of the model grow older and their hazards
    change with the place in the record; here both are held: the stratum's, and the hazard of the first band.

    Raises
    ------
    UsageError
        There is no such stratum.
    """
    t = model.trajectory
    if not 0 <= stratum < len(t.strata):
        raise UsageError(f"There is no stratum {stratum}; the model has {len(t.strata)}.")
    number = [variable.name for variable in model.person.variables].index("trajectory_class")
    order = [model.person.variables[number].states.index(str(g)) for g in range(t.n_classes)]
    share = model.person.marginal(number)[order]
    initial = np.asarray(t.initial[stratum], dtype=np.float64).reshape(t.n_classes, t.n_states) * share[:, None]
    transition = np.asarray(t.transition[t.transition_stratum[stratum]], dtype=np.float64)
    return HiddenMarkovModel(
        initial=(initial / initial.sum()).reshape(1, -1),
        transition=(transition / transition.sum(axis=-1, keepdims=True))[None],
        end=np.asarray(t.end_hazard[:1], dtype=np.float64),
    )


def as_pomegranate(model: PatientModel, stratum: int = 0) -> PomegranateModel:
    """Return the network of the person and the chain of `encounter_chain` as pomegranate's objects (float32).

    Raises
    ------
    MissingExtraError
        pomegranate is not installed.
    UsageError
        There is no such stratum.
    """
    from ehrsynth.probability.bayesnet.pomegranate import to_pomegranate as network
    from ehrsynth.probability.hmm.pomegranate import to_pomegranate as chain

    return PomegranateModel(
        person=network(model.person),
        trajectory=chain(encounter_chain(model, stratum), emission=np.asarray(model.trajectory.encounter_class)),
    )
