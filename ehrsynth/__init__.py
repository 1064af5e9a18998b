"""ehrsynth learns Bayesian networks and hidden Markov models from health records and generates synthetic patients.

The verbs, each with its documentation in `ehrsynth.api`::

    records = ehrsynth.read("path/to/omop", format="omop")
    model = ehrsynth.learn(records, seed=7)
    ehrsynth.save_model(model, "mine.ehrsynth")
    patients = ehrsynth.generate(ehrsynth.load_model("mine.ehrsynth"), population=1000, seed=7)
    patients["condition"].to_pandas()
    ehrsynth.export(patients, "out", formats=["fhir-ndjson", "csv"])
    ehrsynth.validate("out")

Importing the package loads none of its machinery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ehrsynth.api import (
        evaluate,
        export,
        generate,
        generate_files,
        inspect,
        learn,
        learn_from,
        load_model,
        read,
        save_model,
        validate,
    )
    from ehrsynth.errors import EhrsynthError
    from ehrsynth.records import Records

__all__ = [
    "EhrsynthError",
    "Records",
    "__version__",
    "evaluate",
    "export",
    "generate",
    "generate_files",
    "inspect",
    "learn",
    "learn_from",
    "load_model",
    "read",
    "save_model",
    "validate",
]

_HOMES = {"EhrsynthError": "ehrsynth.errors", "Records": "ehrsynth.records"}


def __getattr__(name: str) -> Any:
    from importlib import import_module, metadata

    if name == "__version__":
        return metadata.version("ehrsynth")
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "ehrsynth.api")), name)
    raise AttributeError(f"module 'ehrsynth' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
