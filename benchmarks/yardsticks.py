"""What the same work costs in the naive ways: one dictionary per resource, then json, orjson or fhir.resources."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

__all__ = ["pomegranate_sample", "writers"]


def writers(model: str, folder: Path, patients: int = 500) -> dict[str, float]:
    """Return resources per CPU second of each naive writer over the Observations of generated patients."""
    import ehrsynth

    out = folder / "yardsticks"
    ehrsynth.generate_files(ehrsynth.load_model(model), out, formats=["fhir-ndjson"], population=patients, seed=1)
    return yardsticks(out / "fhir-ndjson" / "Observation.ndjson")


def pomegranate_sample(model: str) -> dict[str, float]:
    """Return people per CPU second drawn from the person's network, by us and by pomegranate; empty without it."""
    import ehrsynth
    from ehrsynth.errors import MissingExtraError
    from ehrsynth.probability.bayesnet import Sampler
    from ehrsynth.probability.bayesnet.pomegranate import to_pomegranate

    network = ehrsynth.load_model(model).person
    try:
        theirs = to_pomegranate(network)
    except MissingExtraError:
        return {}
    sampler, rng = Sampler(network), np.random.default_rng(1)
    n, few = 100_000, 2_000
    return {
        "ehrsynth": _rate(lambda: sampler.draw(rng.random((n, len(network.variables)))), n),
        "pomegranate": _rate(lambda: theirs.sample(few), few),
    }


def yardsticks(ndjson: Path, limit: int = 20_000) -> dict[str, float]:
    """Return resources per CPU second of each naive writer over the first `limit` Observations of a file."""
    lines = ndjson.read_bytes().splitlines()[:limit]
    parsed: list[dict[str, Any]] = [orjson.loads(line) for line in lines]

    def rebuild(resource: dict[str, Any]) -> dict[str, Any]:
        # A generator makes its dictionaries anew for each resource: copying nested ones stands for that.
        return {
            key: rebuild(value)
            if isinstance(value, dict)
            else [dict(v) if isinstance(v, dict) else v for v in value]
            if isinstance(value, list)
            else value
            for key, value in resource.items()
        }

    def model(resource: dict[str, Any]) -> str:
        from fhir.resources.R4B.observation import Observation

        return Observation.model_validate(resource).model_dump_json()

    found = {
        "dict + json": _rate(lambda: [json.dumps(rebuild(resource)) for resource in parsed], len(parsed)),
        "dict + orjson": _rate(lambda: [orjson.dumps(rebuild(resource)) for resource in parsed], len(parsed)),
    }
    few = parsed[:500]
    model(few[0])
    found["fhir.resources"] = _rate(lambda: [model(resource) for resource in few], len(few))
    return found


def _rate(work: Callable[[], object], n: int) -> float:
    rates = []
    for _ in range(3):
        started = time.process_time()
        work()
        rates.append(n / (time.process_time() - started))
    return sorted(rates)[1]
