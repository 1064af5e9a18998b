"""`ehrsynth show`: one patient's record as a timeline in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ehrsynth.cli import options
from ehrsynth.errors import UsageError

if TYPE_CHECKING:
    from ehrsynth.records import Records

__all__ = ["show"]

_EVENTS = {
    # table: (column of the time, mark)
    "condition": ("recorded_date", "diagnosis"),
    "procedure": ("start_datetime", "procedure"),
    "medication_request": ("authored_datetime", "medication"),
    "immunization": ("occurrence_datetime", "vaccine"),
    "observation": ("effective_datetime", "measured"),
    "device": ("start_datetime", "device"),
}


def show(
    source: Annotated[str, typer.Argument(help="Folder of records: OUT/csv, OMOP...")],
    patient: Annotated[str, typer.Option("--patient", help="Number of the patient (from 1), or patient_id.")] = "1",
    limit: Annotated[int, typer.Option("--limit", help="At most so many encounters.")] = 12,
    mapping: options.Mapping = None,
    json: options.Json = False,
) -> None:
    """Show one patient's record as a timeline.

    Example: `ehrsynth show out/csv --patient 3`
    """
    from ehrsynth.api import read
    from ehrsynth.cli.console import print_json

    records = _one(read(source, strict=False, mapping=mapping), patient)
    if json:
        print_json({name: records[name].to_pylist() for name in records if records.schema[name].has_patient})
    else:
        _print(records, limit)


def _one(records: Records, patient: str) -> Records:
    ids = records["patient"]["patient_id"].to_pylist()
    if patient in ids:
        return records.select_patients([patient])
    if patient.isdecimal() and 1 <= int(patient) <= len(ids):
        return records.select_patients([ids[int(patient) - 1]])
    raise UsageError(
        f"There is no patient {patient!r}.", hint=f"There are {len(ids):,}: give a number from 1 or a patient_id."
    )


def _print(records: Records, limit: int) -> None:
    from rich.markup import escape

    from ehrsynth.cli.console import out

    person = records["patient"].to_pylist()[0]
    name = " ".join(part for part in (person["given_name"], person["family_name"]) if part) or person["patient_id"]
    facts = [person["sex"], f"born {person['birth_date']}", person["city"], person["state"]]
    facts += [f"died {person['death_datetime']:%Y-%m-%d}"] if person["death_datetime"] else []
    out.print(f"[bold]{escape(name)}[/]  " + escape(", ".join(str(fact) for fact in facts if fact)), highlight=False)
    encounters = records["encounter"].to_pylist()
    events = _events_by_encounter(records)
    for encounter in encounters[:limit]:
        out.print(f"\n[cyan]{escape(_heading(encounter, person))}[/]", highlight=False)
        for mark, text in events.get(encounter["encounter_id"], ())[:limit]:
            out.print(f"  [dim]{mark:<11}[/]{escape(text)}", highlight=False)
        hidden = len(events.get(encounter["encounter_id"], ())) - limit
        if hidden > 0:
            out.print(f"  [dim]and {hidden} more[/]", highlight=False)
    if len(encounters) > limit:
        out.print(f"\n[dim]and {len(encounters) - limit} more encounters (--limit)[/]", highlight=False)


def _heading(encounter: dict[str, Any], person: dict[str, Any]) -> str:
    start = encounter["start_datetime"]
    when = f"encounter {encounter['sequence']}"
    if start is not None:
        age = (start.date() - person["birth_date"]).days // 365.2425
        exact = encounter["time_precision"] != "day"
        when = f"{start:%Y-%m-%d %H:%M}" if exact else f"{start:%Y-%m-%d}"
        when += f"  age {age:.0f}"
    kind = encounter["type_display"] or encounter["encounter_class"]
    stay = ""
    if start is not None and encounter["end_datetime"] is not None and encounter["end_datetime"] > start:
        hours = (encounter["end_datetime"] - start).total_seconds() / 3600
        stay = f", {hours / 24:.1f} days" if hours >= 36 else f", {hours:.1f} hours"
    return f"{when}  {kind}{stay}"


def _events_by_encounter(records: Records) -> dict[str | None, list[tuple[str, str]]]:
    found: dict[str | None, list[tuple[Any, str, str]]] = {}
    for table, (time, mark) in _EVENTS.items():
        for row in records[table].to_pylist():
            text = row["display"] or row["code"]
            if table == "observation":
                value = (
                    row["value_number"]
                    if row["value_number"] is not None
                    else row["value_display"] or row["value_text"]
                )
                text += f": {value if value is not None else 'not recorded'} {row['value_unit'] or ''}".rstrip()
            found.setdefault(row["encounter_id"], []).append((str(row[time] or "")[:10], mark, text))
    order = {mark: position for position, (_, mark) in enumerate(_EVENTS.values())}
    return {
        key: [(mark, text) for _, mark, text in sorted(rows, key=lambda row: (row[0], order[row[1]]))]
        for key, rows in found.items()
    }
