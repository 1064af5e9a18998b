"""`ehrsynth models`: what is shipped, and what is in a model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehrsynth.cli import options
from ehrsynth.errors import OutputError

if TYPE_CHECKING:
    from ehrsynth.model.life_course import LifeCourseModel
    from ehrsynth.model.life_course_summary import LifeCourseSummary
    from ehrsynth.model.summary import ModelSummary

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="List the shipped models; show what is in a model."
)


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the shipped models.

    Example: `ehrsynth models list`
    """
    from ehrsynth.cli.console import out, print_json, table
    from ehrsynth.model import catalogue

    found = {name: catalogue.describe(name) for name in catalogue.shipped()}
    if json:
        print_json({"models": found, "default": catalogue.DEFAULT_MODEL})
        return
    rows = [
        (
            f"{name} (default)" if name == catalogue.DEFAULT_MODEL else name,
            entry.get("version", ""),
            entry.get("title", ""),
            ", ".join(licence.get("name", "") for licence in entry.get("licenses", [])),
            f"{catalogue.size(name) / 1000:,.0f} kB",
        )
        for name, entry in found.items()
    ]
    out.print(table("", ("name", "version", "title", "licence", "size"), rows, numbers=[4]))


@app.command()
def show(
    model: Annotated[
        str | None, typer.Argument(help="A model file, or the name of a shipped model. Default: the default.")
    ] = None,
    states: Annotated[int, typer.Option("--states", help="How many hidden states to list, the commonest first.")] = 16,
    svg: Annotated[
        Path | None, typer.Option("--svg", help="Also draw the Bayesian network of the person into this SVG file.")
    ] = None,
    expectations: Annotated[
        bool,
        typer.Option("--expectations", help="Instead: what patients of a shipped model must show, line by line."),
    ] = False,
    readme: Annotated[
        bool, typer.Option("--readme", help="Instead: the README of a shipped model (sources, assumptions, limits).")
    ] = False,
    json: options.Json = False,
) -> None:
    """Show what a model holds, so that a custodian can decide whether it may leave the building.

    Example: `ehrsynth models show mine.ehrsynth`
    """
    from ehrsynth.cli.console import print_json
    from ehrsynth.model.catalogue import open_model
    from ehrsynth.model.life_course import LifeCourseModel
    from ehrsynth.model.summary import summarise

    if readme:
        _show_readme(model, json=json)
        return
    if expectations:
        _show_expectations(model, json=json)
        return
    opened = open_model(model)
    if isinstance(opened, LifeCourseModel):
        _show_life_course(opened, svg, json=json)
        return
    summary = summarise(opened)
    if svg is not None:
        _draw(summary, svg)
    if json:
        print_json(summary.to_dict())
    else:
        _print(summary, states)


def _draw(summary: ModelSummary | LifeCourseSummary, svg: Path) -> None:
    from ehrsynth.model.picture import network_svg

    try:
        svg.write_text(network_svg(summary), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The picture cannot be written: {error.strerror}.", file=svg) from None


def _show_expectations(model: str | None, *, json: bool) -> None:
    """Print what patients of a shipped model must show; the tests hold them to it."""
    from ehrsynth import resources
    from ehrsynth.cli.console import out, print_json, table
    from ehrsynth.evaluation.expectations import describe_expectation

    name = _shipped(model, "expectations")
    whole = resources.read_json(f"domain_models/{name}/expectations.json")
    if json:
        print_json(whole)
        return
    general = whole.get("source", "")
    rows = [(*describe_expectation(row), str(row.get("source", general))) for row in whole["expectations"]]
    out.print(table(f"What patients of {name} must show", ("statistic", "value", "source"), rows))


def _show_readme(model: str | None, *, json: bool) -> None:
    """Print the README of a shipped model as it is."""
    from ehrsynth import resources
    from ehrsynth.cli.console import out, print_json

    name = _shipped(model, "a README")
    text = resources.read_bytes(f"domain_models/{name}/README.md").decode("utf-8")
    if json:
        print_json({"name": name, "readme": text})
    else:
        out.print(text, markup=False, highlight=False, soft_wrap=True)


def _shipped(model: str | None, what: str) -> str:
    """Return the name of a shipped model, the default one's if none is given."""
    from ehrsynth.errors import ModelError
    from ehrsynth.model.catalogue import DEFAULT_MODEL, shipped
    from ehrsynth.plugins import nearest

    name = model or DEFAULT_MODEL
    if name not in shipped():
        raise ModelError(f"Only shipped models have {what}; {name!r} is none.", hint=nearest(name, shipped()))
    return name


def _show_life_course(model: LifeCourseModel, svg: Path | None, *, json: bool) -> None:
    from ehrsynth.cli.console import out, print_json, table
    from ehrsynth.model.life_course_summary import summarise_life_course

    summary = summarise_life_course(model)
    if svg is not None:
        _draw(summary, svg)
    if json:
        print_json(summary.to_dict())
        return
    _print_heading(summary)
    _print_variables(summary)
    rows = [(label, _percent(share), ", ".join(parents)) for label, share, parents in summary.conditions]
    title = "Chronic conditions of the living, the commonest (each is a variable of the network)"
    out.print(table(title, ("condition", "has it", "depends on"), rows, numbers=[1]))
    episodes = [(label, f"{rate:.1f}") for label, rate in summary.illnesses]
    out.print(table("Acute illnesses, the commonest", ("illness", "per 1,000 person-years"), episodes, numbers=[1]))
    content = [(listing.name, listing.rows, listing.codes or "-") for listing in summary.listings]
    out.print(table("Content", ("listing", "rows", "distinct codes"), content, numbers=[1, 2]))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _print_heading(summary: ModelSummary | LifeCourseSummary) -> None:
    from ehrsynth.cli.console import out, table

    heading = [
        ("name", summary.name),
        ("title", summary.title),
        ("description", summary.description),
        ("licence of the package", summary.licence or "not stated"),
        *((f"provenance: {key}", str(value)) for key, value in summary.provenance.items()),
        ("reference date", summary.reference_date),
    ]
    out.print(table("Model", ("", ""), [row for row in heading if row[1]]))
    guard = [
        ("nothing of fewer than", f"{summary.min_patients} people"),
        *((f"{name} (rounded)", f"{count:,}") for name, count in summary.counts.items()),
        *((f"left out or merged: {name}", f"{count:,}") for name, count in summary.left_out.items()),
        *(("note", note) for note in summary.notes),
    ]
    out.print(table("What leaves the building", ("", ""), guard))
    out.print(table("Sizes", ("what", "number"), list(summary.sizes.items()), numbers=[1]))


def _print_variables(summary: ModelSummary | LifeCourseSummary) -> None:
    from ehrsynth.cli.console import out, table

    variables = [
        (v.name, v.levels, ", ".join(v.parents) or "-", ", ".join(f"{name} {_percent(p)}" for name, p in v.commonest))
        for v in summary.variables
    ]
    out.print(
        table("The person: a Bayesian network", ("variable", "levels", "parents", "commonest"), variables, numbers=[1])
    )


def _print(summary: ModelSummary, n_states: int) -> None:
    from ehrsynth.cli.console import out, table

    _print_heading(summary)
    _print_variables(summary)
    classes = [(index, _percent(share), text) for index, (text, share) in enumerate(summary.classes)]
    out.print(table("Trajectory classes", ("class", "people", "in one sentence"), classes, numbers=[1]))
    shown = sorted(summary.states, key=lambda state: -state.share)[:n_states]
    rows = [
        (
            f"{s.trajectory_class}.{s.state}",
            _percent(s.share),
            s.name,
            "; ".join(f"{name} {_percent(p)}" for name, p in s.new_codes[:3]),
            ", ".join(f"{s.trajectory_class}.{k} {_percent(p)}" for k, p in s.next_states),
            _percent(s.end_hazard),
        )
        for s in shown
    ]
    title = "The visits: hidden states, the commonest first" + (
        f" ({len(shown)} of {len(summary.states)})" if len(shown) < len(summary.states) else ""
    )
    columns = ("state", "visits", "what it is", "most often new, per visit", "next", "ends after 1st")
    out.print(table(title, columns, rows, numbers=[1, 5]))
    families = [
        (f.table, f.codes, ", ".join(f"{k} {v}" for k, v in f.systems.items()), "; ".join(f.commonest))
        for f in summary.families
    ]
    out.print(table("Codes", ("table", "codes", "code systems", "most often new"), families, numbers=[1]))
    if summary.series:
        series = [
            (
                " + ".join((one.code, *one.with_it)),
                one.follows,
                f"{one.years[0]:g} - {one.years[1]:g}",
                f"{one.visits:g}",
                f"{one.days:,}" if one.days else "",
            )
            for one in summary.series
        ]
        headings = ("given or done at visits of its own", "after", "at ages", "visits", "days between")
        out.print(table("Series", headings, series, numbers=[3, 4]))
    if summary.measurements:
        out.print(table("Measurements", ("what", "unit", "5 % - 50 % - 95 %"), summary.measurements))
