"""Evaluation of sources on one machine: large ones are gone through part by part of the patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ehrsynth.engines.disk import said_if_full, shelf
from ehrsynth.engines.parts_learning import divided, read_divided
from ehrsynth.engines.start import give_memory_back
from ehrsynth.evaluation import EvaluationReport, RecordParts, can_be_in_parts, evaluate, evaluate_parts
from ehrsynth.readers.choice import at_hand, read_as
from ehrsynth.readers.report import ReadReport
from ehrsynth.records import Records

__all__ = ["evaluate_sources"]


def evaluate_sources(
    sources: Mapping[str, str | Path],
    *,
    format: str | None = None,  # noqa: A002
    mappings: Mapping[str, str | Path | None],
    strict: bool = True,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    bootstrap: int = 100,
    sample: int | None = None,
    parts: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[EvaluationReport, dict[str, ReadReport]]:
    """Read the sources ``real``, ``synthetic`` and perhaps ``control``, and evaluate: `ehrsynth.evaluation.evaluate`.

    If one of them has more than a quarter of a million rows, or `parts` says in how many, and all metrics can look at
    parts of the patients, one part is in memory at a time; the others lie in a folder of the temporary directory
    (mode 0700) that goes when the work ends.

    Returns
    -------
    EvaluationReport
    mapping of source to ReadReport
    """
    with ExitStack() as stack:
        places = {name: stack.enter_context(at_hand(source)) for name, source in sources.items()}
        divisions = {
            name: divided(place, format, mappings.get(name), parts) if can_be_in_parts(metrics) else None
            for name, place in places.items()
        }
        reports: dict[str, ReadReport] = {}
        if not any(divisions.values()):
            whole: dict[str, Records] = {}
            for name, place in places.items():
                whole[name], reports[name] = read_as(place, format, strict, mappings.get(name))
            report = evaluate(
                **whole, metrics=metrics, seed=seed, bootstrap=bootstrap, sample=sample, progress=progress
            )
            return report, reports
        disk = stack.enter_context(shelf())
        stack.enter_context(said_if_full(disk.folder))
        kept: dict[str, RecordParts] = {}
        for name, place in places.items():
            kept[name] = RecordParts(store=disk)
            division = divisions[name]
            if division is None:
                records, reports[name] = read_as(place, format, strict, mappings.get(name))
                kept[name].add(records)
                del records
            else:
                folder = disk.folder / name
                folder.mkdir(mode=0o700)

                def keep(records: Records, number: int, into: RecordParts = kept[name]) -> None:
                    into.put(number, records)

                _, reports[name] = read_divided(division, folder, keep, strict=strict, tell=lambda step, message: None)
            give_memory_back()
        report = evaluate_parts(
            **kept, metrics=metrics, seed=seed, bootstrap=bootstrap, sample=sample, progress=progress
        )
        return report, reports
