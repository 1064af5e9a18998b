"""`ehrsynth vocabularies`: the code systems, value sets and maps in this installation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ehrsynth.cli import options

if TYPE_CHECKING:
    from ehrsynth.terminology import CodeSystem

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Code systems, value sets and maps: list, show, search."
)


@app.command("list")
def list_(vocabularies: options.Vocabularies = None, json: options.Json = False) -> None:
    """List the vocabularies with their sources and licences.

    Example: `ehrsynth vocabularies list --vocabularies my_code_systems`
    """
    from ehrsynth.cli.console import out, print_json, table
    from ehrsynth.terminology import library

    options.use_vocabularies(vocabularies)
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
    vocabularies: options.Vocabularies = None,
    json: options.Json = False,
) -> None:
    """Show where a code system comes from, or all that is known of one of its codes and whom it can befall.

    Example: `ehrsynth vocabularies show icd10cm N40.0`
    """
    from ehrsynth import terminology
    from ehrsynth.cli.console import out, print_json, table
    from ehrsynth.errors import UsageError
    from ehrsynth.terminology import library

    options.use_vocabularies(vocabularies)
    system = library.code_system(name)
    if code is None:
        if json:
            print_json(system.descriptor)
        else:
            rows = [(key, value) for key, value in system.descriptor.items() if isinstance(value, str)]
            tables = ", ".join(entry["name"] for entry in system.descriptor["resources"] if "schema" in entry)
            rows += [("licence", system.licence), ("uri", system.uri), ("tables", tables)]
            out.print(table(system.name, ("property", "value"), [*rows, ("codes", len(system))]))
        return
    display = terminology.display(system.uri, code)
    if display is None and not bool((terminology.known(system.uri, [code]) or [False])[0]):
        raise UsageError(f"{system.name} has no code {code!r}.", hint=f"Try: ehrsynth vocabularies search {code}")
    sex, low, high = terminology.limits(system.uri, [code])
    facts: dict[str, Any] = {
        "system": system.uri,
        "code": code,
        "display": display or "",
        "sex": ("any", "female only", "male only")[int(sex[0])],
        "age": _ages(float(low[0]), float(high[0])),
        "chronic": bool(terminology.chronic(system.uri, [code])[0]),
        **_more(system, code),
    }
    if json:
        print_json(facts)
        return
    rows = []
    for key, value in facts.items():
        if isinstance(value, list):
            rows += [(key, ", ".join(f"{name} {_text(one)}" for name, one in entry.items())) for entry in value]
        else:
            rows.append((key, _text(value)))
    out.print(table("", ("property", "value"), rows))


def _ages(low: float, high: float) -> str:
    if high == float("inf"):
        return f"from {low:g} years" if low > 0 else "any"
    return f"{low:g} to {high:g} years"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


_SHOWN = {"code", "display", "sex", "min_age", "max_age", "chronic"}
"""Columns that the facts about a code hold in other words."""


def _more(system: CodeSystem, code: str) -> dict[str, Any]:
    """What else the code system knows: the other columns of the code, and its rows in the package's other tables."""
    import pyarrow.compute as pc

    from ehrsynth import terminology

    found: dict[str, Any] = {}
    at = int(system.rows([code])[0])
    if at >= 0:
        row = system.codes.slice(at, 1).to_pylist()[0]
        found = {name: value for name, value in row.items() if name not in _SHOWN and value is not None}
    meaning = terminology.display("ccsr", str(found.get("category")))
    if meaning:
        found["category"] = f"{found['category']} {meaning}"
    for entry in system.descriptor["resources"]:
        names = [field["name"] for field in entry.get("schema", {}).get("fields", [])]
        if entry["name"] != "codes" and "code" in names and entry["name"] not in _BUILT_FROM:
            rows = system.table(entry["name"])
            rows = rows.filter(pc.equal(rows["code"], code)).to_pylist()
            if rows:
                found[entry["name"]] = [
                    {name: value for name, value in row.items() if name != "code" and value is not None} for row in rows
                ]
    return found


_BUILT_FROM = {"common", "ranges"}
"""Tables kept by hand from which others of the package are built."""


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words of the display, or the beginning of a code.")],
    system: Annotated[str | None, typer.Option("--system", help="Only in this code system.")] = None,
    vocabularies: options.Vocabularies = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.")] = 20,
    json: options.Json = False,
) -> None:
    """Find codes by the words of their display or by their beginning.

    Example: `ehrsynth vocabularies search type 2 diabetes --system icd10cm`
    """
    from ehrsynth.cli.console import out, print_json, table
    from ehrsynth.terminology import library

    options.use_vocabularies(vocabularies)
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
