"""`ehrsynth evaluate`: how near synthetic records are to real ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehrsynth.cli import options

if TYPE_CHECKING:
    from ehrsynth.evaluation import EvaluationReport, MetricResult

__all__ = ["evaluate"]


def evaluate(
    real: Annotated[str, typer.Argument(help="Folder of the real records that were learned from.")],
    synthetic: Annotated[str, typer.Argument(help="Folder of the synthetic records.")],
    control: Annotated[
        Path | None,
        typer.Option("--control", help="Folder of real records of other patients, not learned from: the judge."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to make for metrics.json and metrics.csv.")
    ] = None,
    format: Annotated[  # noqa: A002
        str | None, typer.Option("--format", help="omop, tables...: of all folders; each is guessed if left out.")
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            "--mapping", help="Mapping (file or name) of the real records and the control; not of the synthetic."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("-m", "--metric", help="Only this metric; may be given several times.")
    ] = None,
    seed: options.Seed = 0,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", help="Replicates for the 95 % intervals; 0: no intervals.")
    ] = 100,
    sample: Annotated[
        int | None, typer.Option("--sample", help="At most N patients of each, drawn at random. Default: all.")
    ] = None,
    parts: Annotated[
        int | None,
        typer.Option(
            "--parts", metavar="N", help="Go through the patients in N parts, one in memory at a time; 1: at once."
        ),
    ] = None,
    details: Annotated[bool, typer.Option("--details", help="Show also what the main figures sum up.")] = False,
    lenient: Annotated[bool, typer.Option("--lenient", help="Set broken rows aside and count them.")] = False,
    json: options.Json = False,
) -> None:
    """Say how near synthetic records are to real ones: fidelity, course over time, utility, detection.

    Example: `ehrsynth evaluate learned_from out/csv --control held_out -o evaluation`

    Each figure has a 95 % bootstrap interval over patients. With `--control` all is judged against the held-out
    patients, and beside each figure stands the ceiling: the same figure for the real records. Needs `pip install
    'ehrsynth[evaluate]'` for the metrics utility and detection. Sources of more than a quarter of a million rows are
    gone through in parts of patients, which makes no other figures; meanwhile they lie in a folder of the temporary
    directory (TMPDIR), which only you can open and which is removed at the end.
    """
    # Arrow's own allocator keeps what was read for later; here numpy needs it. It is chosen when Arrow is imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from ehrsynth.cli.console import print_json
    from ehrsynth.cli.progress import progress_bar
    from ehrsynth.engines.output import Output
    from ehrsynth.engines.parts_evaluation import evaluate_sources

    # An output that cannot be written should be known before the work is done, not after.
    target = None if output is None else Output(output)
    folders = {"real": real, "synthetic": synthetic} | ({} if control is None else {"control": control})
    with progress_bar("Evaluating") as progress:
        report, read = evaluate_sources(
            folders,
            format=format,
            mappings={name: None if name == "synthetic" else mapping for name in folders},
            strict=not lenient,
            metrics=metric or None,
            seed=seed,
            bootstrap=bootstrap,
            sample=sample,
            parts=parts,
            progress=progress,
        )
    lost = {name: account.to_dict() for name, account in read.items() if account.set_aside or account.adjusted}
    document = {"sources": {name: str(path) for name, path in folders.items()}, "lost": lost, **report.to_dict()}
    if target is not None:
        with target:
            target.write_json("metrics.json", document)
            (target.staging / "metrics.csv").write_text(report.to_csv(), encoding="utf-8", newline="")
    if json:
        print_json(document)
    else:
        from ehrsynth.cli.account import print_losses

        for name, account in read.items():
            print_losses(account, name)
        _print(report, output, details=details)


_TITLES = {
    "person": "Who they are",
    "codes": "What is recorded",
    "temporal": "How records run",
    "survival": "How records end",
    "numeric": "Numbers",
    "subgroups": "Subgroups",
    "completeness": "What is missing",
    "utility": "Utility",
    "detection": "Detection",
}


def _print(report: EvaluationReport, output: Path | None, *, details: bool) -> None:
    from ehrsynth.cli.console import out, table

    judged = report.reference == "control"
    shown = [result for result in report.results if details or not result.detail]
    columns = ["metric", "", "value", "95 %"] + (["real", "95 %", "behind"] if judged else []) + ["note"]
    for group in dict.fromkeys(result.group for result in shown):
        rows = [_row(result, judged) for result in shown if result.group == group]
        out.print(table(_TITLES.get(group, group), columns, rows, numbers=range(2, len(columns) - 1)))
        out.print()
    counts = ", ".join(f"{n:,} {name}" for name, n in report.patients.items())
    against = "the control: patients not learned from" if judged else "the real records"
    out.print(f"Patients: {counts}. Judged against {against}. ↑ higher is better, ↓ lower.", highlight=False)
    for note in report.notes:
        out.print(f"[dim]note[/] {note}", highlight=False)
    if output is not None:
        out.print(f"All figures are in [bold]{output}[/].", highlight=False)


def _row(result: MetricResult, judged: bool) -> list[str]:
    cells = [result.title, "↑" if result.better == "higher" else "↓", _number(result.value), _range(result.interval)]
    if judged:
        cells += [_number(result.baseline), _range(result.baseline_interval), _number(result.behind)]
    return [*cells, result.note]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value == int(value) and abs(value) > 1 else f"{value:.3f}"


def _range(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} .. {interval[1]:.3f}"
