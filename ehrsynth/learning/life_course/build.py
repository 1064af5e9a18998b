"""The life-course model of the United States: census, life tables, NHANES and the content put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.life_course.assemble import link
from ehrsynth.learning.life_course.associations import corrected
from ehrsynth.learning.life_course.conditions import Node, add_conditions, add_either, fit_to_bands, plan_parents
from ehrsynth.learning.life_course.content import Content
from ehrsynth.learning.life_course.network import NetworkBuilder
from ehrsynth.learning.life_course.nhanes import STAT_EDGES, Survey
from ehrsynth.learning.life_course.population import Vital, add_people
from ehrsynth.learning.life_course.quantities import core_listing
from ehrsynth.model.life_course import AGES, Listing
from ehrsynth.probability.bayesnet import BayesianNetwork

__all__ = ["begins_after", "build_network", "listings"]

Float = npt.NDArray[np.float64]

# Which key of the content is which variable of NHANES.
STATS = {
    "hypertension": "htn_aware",
    "coronary_disease": "cc_cvd_chd",
    "myocardial_infarction_old": "cc_cvd_mi",
    "stroke_history": "cc_cvd_stroke",
    "heart_failure": "cc_cvd_hf",
}
_TAKES = {
    "bp": "bp_med_use",
    "ace": "bp_med_ace",
    "arb": "bp_med_angioten",
    "beta": "bp_med_beta",
    "thz": "bp_med_diur_thz",
    "ccb": "bp_med_ccb",
    "statin": "chol_med_statin",
}
_CORE_KEYS = (
    "diabetes_type1",
    "diabetes_type2",
    "hypertension",
    "hyperlipidemia",
    "coronary_disease",
    "myocardial_infarction_old",
    "stroke_history",
    "heart_failure",
    "ckd",
)
# What goes first in the order of the network, so that others may depend on it.
_EARLY = ("obesity_severe", "obesity", "overweight", "tobacco_disorder", "tobacco_history")
_NEVER_WITH = {
    "obesity": ("obesity_severe",),
    "overweight": ("obesity_severe", "obesity"),
    "prediabetes": ("any:diabetes",),
    "mild_cognitive_impairment": ("dementia",),
    "hyperthyroidism": ("hypothyroidism",),
    "ibd_colitis": ("ibd_crohn",),
    "bipolar": ("depression",),
    "schizophrenia": ("bipolar",),
    "osteopenia": ("osteoporosis",),
    "contraception": ("menopause",),
}
_ONLY_WITH = {
    "dialysis": ("ckd",),
    "insulin_longterm": ("any:diabetes",),
    "anticoagulant_longterm": ("atrial_fibrillation", "dvt_history"),
    "cardiac_device": ("coronary_disease", "atrial_fibrillation", "heart_failure"),
    "joint_replacement": ("osteoarthritis_knee", "osteoarthritis_hip"),
}
_SMOKING = {
    # key: log odds ratios of never, former, current. Assumption after US Surgeon General 2014 (relative risks).
    "copd": (0.0, 1.3, 1.8),
    "cancer_lung": (0.0, 1.9, 2.7),
    "tobacco_disorder": (-40.0, -40.0, 0.0),
    "tobacco_history": (-40.0, 0.0, -40.0),
}
# What is written down of body mass: log odds ratios of the classes of the index. Class 3 is written down of who has
# 40, or 35 and an illness by it.
_BODY = {
    "overweight": (-40.0, 0.0, -3.0, -40.0, -40.0),
    "obesity": (-40.0, -40.0, 0.0, 0.0, -1.5),
    "obesity_severe": (-40.0, -40.0, -40.0, -2.0, 0.0),
}
_CLASS_3 = 0.3
"""Log odds ratio of an index of 40 and more against 35 to 40 on diabetes and high pressure. Assumption."""
# A complication begins after what it is a complication of.
_AFTER = (
    ("diabetes_type2", "ckd"),
    ("coronary_disease", "myocardial_infarction_old"),
    ("hypertension", "heart_failure"),
    ("ckd", "dialysis"),
    ("osteoarthritis_knee", "joint_replacement"),
    ("osteoarthritis_hip", "joint_replacement"),
    ("atrial_fibrillation", "anticoagulant_longterm"),
)


_CORRECTIONS = 4


def _has(name: str) -> str:
    return name if ":" in name else f"has:{name}"


def _stat_curve(base: Float, wanted: Float, vital: Vital) -> Float:
    """Return the curve of each sex with the published means of the adult bands."""
    return np.stack([fit_to_bands(base[s], STAT_EDGES, wanted[s], vital.living[s]) for s in range(2)])


def _from_bands(wanted: Float) -> Float:
    """Return curves through the middles of the adult bands, nothing below 15."""
    middle = (24.0, 34.5, 44.5, 54.5, 64.5, 74.5, 85.0)
    ages = np.arange(AGES)
    curve = np.stack([np.exp(np.interp(ages, middle, np.log(np.maximum(row, 1e-4)))) for row in wanted])
    return np.where(ages >= 18, curve, 0.0)


def build_network(
    content: Content, vital: Vital, found: Survey, stats: Mapping[str, Float], states: Mapping[str, Mapping[str, float]]
) -> tuple[BayesianNetwork, Float]:
    """Return the network of the person, and the prevalence of each chronic condition, float64[2, n, AGES].

    The survey's odds ratios are met by correction: what the network gives for a pair, given sex and age, is compared
    with the survey's, and the difference of logarithms goes into the effect of the parent, a few times.
    """
    corrections: dict[tuple[str, str], float] = {}
    for _ in range(_CORRECTIONS):
        network, _curves = _network(content, vital, found, stats, states, corrections, core_only=True)
        corrections = corrected(network, found, corrections)
    return _network(content, vital, found, stats, states, corrections)


def _network(
    content: Content,
    vital: Vital,
    found: Survey,
    stats: Mapping[str, Float],
    states: Mapping[str, Mapping[str, float]],
    corrections: Mapping[tuple[str, str], float],
    *,
    core_only: bool = False,
) -> tuple[BayesianNetwork, Float]:
    chronic = content.listings["chronic"]
    keys = chronic.text["key"]
    curves = content.curves["chronic"].copy()
    place = {key: at for at, key in enumerate(keys)}
    for key, name in STATS.items():
        curves[:, place[key]] = _stat_curve(curves[:, place[key]], stats[name], vital)
    one, two = place["diabetes_type1"], place["diabetes_type2"]
    diabetes = _stat_curve(curves[:, one] + curves[:, two], stats["cc_diabetes"], vital)
    curves[:, two] = np.maximum(diabetes - curves[:, one], 1e-5)
    curves[:, place["ckd"]] = _stat_curve(curves[:, place["ckd"]], stats["cc_ckd"], vital)
    mortality = chronic.number["relative_mortality"]
    builder = NetworkBuilder()
    add_people(builder, vital, states, found.smoking_shares(), found.body_by_band())

    def node(key: str, **how: Any) -> Node:
        return Node(name=_has(key), curve=curves[:, place[key]], mortality=float(mortality[place[key]]), **how)

    pairs = [(_has(a), _has(b), ratio) for a, b, ratio in content.comorbidity]
    early = [key for key in _EARLY if key in place]
    late = [key for key in keys if key not in _CORE_KEYS and key not in early]
    order = [_has(key) for key in (*early, *_CORE_KEYS, *late)]
    fixed = {_has(key): node(key) for key in _CORE_KEYS}
    parents = plan_parents(order, pairs, fixed)
    for key in early:
        _add(builder, vital, node, key, parents)
    _add_core(builder, vital, found, stats, node, corrections)
    for key in () if core_only else late:
        _add(builder, vital, node, key, parents)
    return builder.network(), curves


def _add(builder: NetworkBuilder, vital: Vital, node: Any, key: str, parents: Mapping[str, Any]) -> None:
    effects = dict(parents.get(_has(key), {}))
    only = tuple(name for name in map(_has, _ONLY_WITH.get(key, ())) if name in builder)
    never = tuple(name for name in map(_has, _NEVER_WITH.get(key, ())) if name in builder)
    for name in (*only, *never):
        effects.setdefault(name, (0.0, 0.0))
    if key in _SMOKING:
        effects["smoking"] = _SMOKING[key]
    if key in _BODY:
        effects["body"] = _BODY[key]
    add_conditions(builder, [node(key, effects=effects, only_with=only, never_with=never)], vital)


def _add_core(
    builder: NetworkBuilder,
    vital: Vital,
    found: Survey,
    stats: Mapping[str, Float],
    node: Any,
    corrections: Mapping[tuple[str, str], float],
) -> None:
    """Add what NHANES knows together: diabetes, pressure, kidneys, heart, and the drugs for them."""

    def effects(child: str, names: Mapping[str, str]) -> dict[str, tuple[float, ...]]:
        """Return the effects of NHANES variables, `names` (variable of NHANES to that of the network)."""
        logs = found.effects(child, tuple(names))
        return {
            names[name]: (0.0, log + corrections.get((child, name), 0.0)) for name, log in zip(names, logs, strict=True)
        }

    def heavy(child: str) -> dict[str, tuple[float, ...]]:
        logs = found.body_effects(child)
        return {"body": (*logs, round(logs[-1] + _CLASS_3, 2))}

    diabetes, pressure, chd, failure = "any:diabetes", "has:hypertension", "has:coronary_disease", "has:heart_failure"
    add_conditions(
        builder,
        [
            node("diabetes_type1"),
            node(
                "diabetes_type2",
                effects={"has:diabetes_type1": (0.0, 0.0), **heavy("diabetes")},
                never_with=("has:diabetes_type1",),
            ),
        ],
        vital,
    )
    add_either(builder, diabetes, "has:diabetes_type1", "has:diabetes_type2")
    add_conditions(
        builder,
        [
            node("hypertension", effects={**effects("htn", {"diabetes": diabetes}), **heavy("htn")}),
            node("hyperlipidemia", effects={diabetes: (0.0, 0.9), pressure: (0.0, 0.8)}),
        ],
        vital,
    )
    low = _from_bands(_prevalence(found, "low_gfr"))
    builder_node = Node(
        name="kidney:low_gfr",
        curve=low,
        mortality=1.7,
        effects=effects("low_gfr", {"diabetes": diabetes, "htn": pressure}),
    )
    add_conditions(builder, [builder_node], vital)
    kidney = node("ckd")
    # Chronic kidney disease is either; albuminuria is solved so that the share of either is the published one.
    without = np.clip((kidney.curve - low) / (1 - low), 1e-4, 0.95)
    albumin = Node(
        name="kidney:albuminuria",
        curve=np.where(kidney.curve > low, without, 1e-4),
        mortality=1.6,
        effects=effects("albuminuria", {"diabetes": diabetes, "htn": pressure, "low_gfr": "kidney:low_gfr"}),
    )
    _add_albuminuria(builder, vital, albumin, kidney.curve)
    add_either(builder, "has:ckd", "kidney:low_gfr", "kidney:albuminuria")
    heart = [
        node("coronary_disease", effects=effects("chd", {"diabetes": diabetes, "htn": pressure, "ckd": "has:ckd"})),
        node(
            "myocardial_infarction_old",
            effects={chd: (0.0, 0.0), **effects("mi", {"htn": pressure, "diabetes": diabetes})},
            # Who had an infarction has coronary disease: so does the survey count.
            only_with=(chd,),
        ),
        node(
            "stroke_history",
            effects=effects("stroke", {"htn": pressure, "diabetes": diabetes, "chd": chd, "ckd": "has:ckd"}),
        ),
        node(
            "heart_failure",
            effects=effects(
                "hf",
                {
                    "chd": chd,
                    "mi": "has:myocardial_infarction_old",
                    "htn": pressure,
                    "diabetes": diabetes,
                    "ckd": "has:ckd",
                    "stroke": "has:stroke_history",
                },
            ),
        ),
    ]
    add_conditions(builder, heart, vital)
    takes = {name: _from_bands(stats[variable]) for name, variable in _TAKES.items()}
    any_drug = "takes:bp"
    others: dict[str, tuple[float, ...]] = {
        any_drug: (0.0, 0.0),
        "takes:ace": (0.0, -0.4),
        "takes:arb": (0.0, -0.4),
        "takes:beta": (0.0, -0.3),
        "takes:thz": (0.0, -0.2),
    }
    nodes = [
        Node(name=any_drug, curve=takes["bp"], effects={pressure: (0.0, 0.0)}, only_with=(pressure,)),
        Node(
            name="takes:ace",
            curve=takes["ace"],
            effects=effects("ace", {"bp": any_drug, "diabetes": diabetes, "hf": failure}),
            only_with=(any_drug, diabetes, failure),
        ),
        Node(
            name="takes:arb",
            curve=takes["arb"],
            effects=effects("arb", {"bp": any_drug, "ace": "takes:ace", "diabetes": diabetes}),
            only_with=(any_drug, diabetes),
            never_with=("takes:ace",),
        ),
        Node(
            name="takes:beta",
            curve=takes["beta"],
            effects=effects("beta", {"bp": any_drug, "chd": chd, "hf": failure}),
            only_with=(any_drug, chd, failure),
        ),
        Node(
            name="takes:thz",
            curve=takes["thz"],
            effects=effects("thz", {"bp": any_drug, "diabetes": diabetes}),
            only_with=(any_drug,),
        ),
        Node(
            name="takes:ccb",
            curve=takes["ccb"],
            effects=others,
            only_with=(any_drug,),
            # Who takes a drug for blood pressure and none of the others takes this one, four times in five.
            forced={(1, 0, 0, 0, 0): 0.8},
        ),
        Node(
            name="takes:statin",
            curve=takes["statin"],
            effects={**effects("statin", {"diabetes": diabetes, "chd": chd, "stroke": "has:stroke_history"})}
            | {"has:hyperlipidemia": (0.0, 2.6)},
            only_with=(diabetes, chd, "has:stroke_history", "has:hyperlipidemia"),
        ),
    ]
    add_conditions(builder, nodes, vital)


def _prevalence(found: Survey, flag: str) -> Float:
    """Return the weighted share of a flag in the latest cycle, float64[2, bands]."""
    shares = np.zeros((2, len(STAT_EDGES)))
    for s in range(2):
        for b in range(len(STAT_EDGES)):
            here = found.latest & (found.sex == s) & (found.band == b) & ~np.isnan(found.flags[flag])
            shares[s, b] = np.average(found.flags[flag][here], weights=found.weight[here])
    return np.round(shares, 4)


def _add_albuminuria(builder: NetworkBuilder, vital: Vital, albumin: Node, either: Float) -> None:
    """Add albuminuria with the margin at which the share of either sign is `either`."""
    from ehrsynth.learning.life_course.conditions import margins

    low = builder.given_context(["kidney:low_gfr"])[..., 1]
    wanted = margins(either, albumin.mortality, vital)
    margin = margins(albumin.curve, albumin.mortality, vital)
    for _ in range(12):
        trial = NetworkBuilder()
        trial.__dict__.update({name: list(value) for name, value in builder.__dict__.items()})
        trial.add_binary(albumin.name, margin, albumin.effects)
        joint = trial.given_context(["kidney:low_gfr", albumin.name])
        got = 1 - joint[..., 0, 0]
        margin = np.clip(
            margin * np.where(got > low, np.maximum(wanted - low, 1e-4) / np.maximum(got - low, 1e-6), 1), 1e-5, 0.95
        )
    builder.add_binary(albumin.name, margin, albumin.effects)


def listings(content: Content) -> dict[str, Listing]:
    """Return the linked listings of the model."""
    return {**link(content), "core": core_listing()}


def begins_after(content: Content) -> Float:
    """Return the pairs (first, then) of chronic conditions of which one begins after the other."""
    place = {key: at for at, key in enumerate(content.listings["chronic"].text["key"])}
    return np.array([(place[a], place[b]) for a, b in _AFTER if a in place and b in place], dtype=np.float64)
