"""`ehrsynth vocabularies`: the code systems, value sets and maps in this installation."""

from __future__ import annotations

from typing import Annotated

import typer

from ehrsynth.cli import options

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Code systems, value sets and maps: list, show, search."
)


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the vocabularies with their sources and licences.

    Example: `ehrsynth vocabularies list`
    """
    from ehrsynth.cli.console import out, print_json, table
    from ehrsynth.terminology import library

    packages = library.packages()
    if json:
        print_json({"vocabularies": [package.descriptor for package in packages]})
        return
    rows = [(p.kind.replace("_", " "), p.name, p.version, p.licence, p.title) for p in packages]
    out.print(table("", ("kind", "name", "version", "licence", "title"), rows))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name or URI of a code system, as in `vocabularies list`.")],
    code: Annotated[str | None, typer.Argument(help="One code of it.")] = None,
    json: options.Json = False,
) -> None:
    """Show where a code system comes from, or one of its codes and whom it can befall.

    Example: `ehrsynth vocabularies show icd10cm N40.0`
    """
    from ehrsynth import terminology
    from ehrsynth.cli.console import out, print_json, table
    from ehrsynth.errors import UsageError
    from ehrsynth.terminology import library

    system = library.code_system(name)
    if code is None:
        if json:
            print_json(system.descriptor)
        else:
            rows = [(key, value) for key, value in system.descriptor.items() if isinstance(value, str)]
            out.print(table(system.name, ("property", "value"), [*rows, ("codes", len(system))]))
        return
    display = terminology.display(system.uri, code)
    if display is None and not bool((terminology.known(system.uri, [code]) or [False])[0]):
        raise UsageError(f"{system.name} has no code {code!r}.", hint=f"Try: ehrsynth vocabularies search {code}")
    sex, low, high = terminology.limits(system.uri, [code])
    facts = {
        "system": system.uri,
        "code": code,
        "display": display or "",
        "sex": ("any", "female only", "male only")[int(sex[0])],
        "age": f"{low[0]:g} to {high[0]:g} years",
        "chronic": bool(terminology.chronic(system.uri, [code])[0]),
    }
    if json:
        print_json(facts)
    else:
        out.print(table("", ("property", "value"), list(facts.items())))


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words of the display, or the beginning of a code.")],
    system: Annotated[str | None, typer.Option("--system", help="Only in this code system.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.")] = 20,
    json: options.Json = False,
) -> None:
    """Find codes by the words of their display or by their beginning.

    Example: `ehrsynth vocabularies search type 2 diabetes --system icd10cm`
    """
    from ehrsynth.cli.console import out, print_json, table
    from ehrsynth.terminology import library

    hits = library.search(" ".join(words), system=system, limit=limit)
    if json:
        print_json(
            {"hits": [{"vocabulary": h.vocabulary, "code": h.coding.code, "display": h.coding.display} for h in hits]}
        )
        return
    out.print(
        table(
            "", ("vocabulary", "code", "display"), [(h.vocabulary, h.coding.code, h.coding.display or "") for h in hits]
        )
    )
