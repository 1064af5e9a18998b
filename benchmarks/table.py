"""Figures as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["growth", "table"]


def growth(runs: Sequence[dict[str, Any]], key: str, by: str = "patients") -> float:
    """Return the exponent of growth of `key` with `by` between the first and the last of `runs`."""
    small, large = runs[0], runs[-1]
    return math.log(large[key] / small[key]) / math.log(large[by] / small[by])


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    return "\n".join([*_generation(figures), "", *_remarks(figures), *_learning(figures)])


def _generation(figures: dict[str, Any]) -> list[str]:
    lines = [
        "| format | patients | rows or resources | CPU s | patients/CPU s | rows or resources/CPU s | MB/CPU s "
        "| kB a patient | peak MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for entry in figures["runs"]:
        cpu, written = entry["cpu_seconds"], entry["written"]
        cells = (
            entry["format"],
            f"{entry['patients']:,}",
            f"{written:,}",
            f"{cpu:.1f}",
            f"{entry['patients'] / cpu:,.0f}",
            f"{written / cpu:,.0f}",
            f"{entry['bytes'] / cpu / 1e6:.0f}",
            f"{entry['bytes'] / entry['patients'] / 1e3:.1f}",
            f"{entry['peak_mb']:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _remarks(figures: dict[str, Any]) -> list[str]:
    first = figures["first_patient"]
    lines = [f"- first patient on disk after {first['cpu_seconds']:.2f} CPU s ({first['wall_seconds']:.2f} s)"]
    by_format: dict[str, list[dict[str, Any]]] = {}
    for entry in figures["runs"]:
        by_format.setdefault(entry["format"], []).append(entry)
    for name, runs in by_format.items():
        if len(runs) > 1:
            # From the second population on start-up counts for little.
            some = runs[-2:] if len(runs) > 2 else runs
            lines.append(
                f"- {name}: from {some[0]['patients']:,} to {some[-1]['patients']:,} patients CPU time grows with the "
                f"power {growth(some, 'cpu_seconds'):.3f}, peak memory with {growth(some, 'peak_mb'):.3f}"
            )
    plain, packed = (by_format.get(name) for name in ("fhir-ndjson", "fhir-ndjson.gz"))
    if plain and packed:
        lines.append(f"- gzip NDJSON at {plain[-1]['cpu_seconds'] / packed[-1]['cpu_seconds']:.0%} of the plain rate")
    counts = figures.get("workers", {})
    if "1" in counts:
        for count, entry in counts.items():
            gain = counts["1"]["wall_seconds"] / entry["wall_seconds"]
            more = entry["cpu_seconds"] / counts["1"]["cpu_seconds"]
            lines.append(f"- {count} workers: {gain:.2f} times as fast by the clock, {more:.2f} times the CPU seconds")
    best = max((run["written"] / run["cpu_seconds"] for run in plain or ()), default=0.0)
    for name, rate in figures.get("yardsticks", {}).items():
        lines.append(
            f"- yardstick, Observations with {name}: {rate:,.0f} per CPU second; ours, end to end: {best:,.0f}"
        )
    sampling = figures.get("sampling", {})
    if sampling:
        ours, theirs = sampling["ehrsynth"], sampling["pomegranate"]
        lines.append(
            f"- people drawn per CPU second from the network of the person: {ours:,.0f}; by pomegranate's sample from "
            f"the same network: {theirs:,.0f} (ours is {ours / theirs:,.0f} times as fast)"
        )
    return lines


def _learning(figures: dict[str, Any]) -> list[str]:
    runs = figures.get("learning")
    if not runs:
        return []
    lines = ["", "| learned from patients | visits | codes | CPU s | peak MB |", "|---:|---:|---:|---:|---:|"]
    for entry in runs:
        lines.append(
            f"| {entry['patients']:,} | {entry['visits']:,} | {entry['codes']:,} | {entry['cpu_seconds']:.1f} "
            f"| {entry['peak_mb']:.0f} |"
        )
    lines.append(
        f"\n- learning grows with patients to the power {growth(runs[:2], 'cpu_seconds'):.2f}, "
        f"with codes to the power {growth([runs[0], runs[2]], 'cpu_seconds', 'codes'):.2f}"
    )
    return lines
