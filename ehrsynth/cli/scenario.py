"""The options of `generate` that say who is wanted, and their words as codes."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from ehrsynth.errors import UsageError

__all__ = [
    "Age",
    "Condition",
    "Deceased",
    "Ethnicity",
    "HistoryYears",
    "MinVisits",
    "Race",
    "Sex",
    "State",
    "scenario",
]

_PANEL = "Who is wanted"

Age = Annotated[
    str | None,
    typer.Option("--age", metavar="40-65", help="Completed years, both ends included; or 65+.", rich_help_panel=_PANEL),
]
Sex = Annotated[str | None, typer.Option("--sex", metavar="female|male", help="Sex.", rich_help_panel=_PANEL)]
State = Annotated[
    list[str] | None, typer.Option("--state", metavar="MA", help="May be given several times.", rich_help_panel=_PANEL)
]
Race = Annotated[
    list[str] | None,
    typer.Option("--race", metavar="white", help="A CDC code, or the beginning of its name.", rich_help_panel=_PANEL),
]
Ethnicity = Annotated[
    list[str] | None,
    typer.Option("--ethnicity", metavar="hispanic", help="The same.", rich_help_panel=_PANEL),
]
Condition = Annotated[
    list[str] | None,
    typer.Option(
        "--condition",
        metavar="E11",
        help="What everyone has: ICD-10-CM code or its beginning, CCSR category (CIR007), value set, or a key of the "
        "model; several: all of them.",
        rich_help_panel=_PANEL,
    ),
]
Deceased = Annotated[
    bool | None,
    typer.Option("--deceased/--living", help="Only people who have died, or only who lives.", rich_help_panel=_PANEL),
]
HistoryYears = Annotated[
    float | None,
    typer.Option("--history-years", metavar="10", help="Records reach at most so far back.", rich_help_panel=_PANEL),
]
MinVisits = Annotated[
    int | None,
    typer.Option(
        "--min-visits",
        metavar="3",
        help="Who would have fewer encounters gets more.",
        rich_help_panel=_PANEL,
    ),
]

_LONGEST_LIFE = 130


def scenario(
    *,
    age: str | None,
    sex: str | None,
    state: list[str] | None,
    race: list[str] | None,
    ethnicity: list[str] | None,
    condition: list[str] | None,
    deceased: bool | None,
    history_years: float | None,
    min_visits: int | None,
) -> dict[str, Any]:
    """Return what is wanted by the words of `ehrsynth.generation.scenario.SCENARIO`; only what was asked for.

    Raises
    ------
    UsageError
        A word that cannot be understood; near ones are suggested.
    """
    if history_years is not None and not history_years > 0:
        raise UsageError(f"--history-years is {history_years}; it must be more than 0.")
    if min_visits is not None and min_visits < 1:
        raise UsageError(f"--min-visits is {min_visits}; it must be at least 1.")
    wanted: dict[str, Any] = {
        "age": None if age is None else _ages(age),
        "sex": None if sex is None else _one_of(sex.lower(), ("female", "male", "other", "unknown"), "--sex"),
        "state": [word.upper() for word in state or ()] or None,
        "race": [_cdcrec(word, "--race", "omb-race-category") for word in race or ()] or None,
        "ethnicity": [_cdcrec(word, "--ethnicity", "omb-ethnicity-category") for word in ethnicity or ()] or None,
        "condition": [_code_or_key(word) for word in condition or ()] or None,
        "deceased": deceased,
        "history_years": history_years,
        "min_visits": min_visits,
    }
    return {word: value for word, value in wanted.items() if value is not None}


def _ages(text: str) -> tuple[float, float]:
    low, dash, high = text.strip().partition("-")
    if text.endswith("+"):
        low, dash, high = text[:-1], "-", str(_LONGEST_LIFE)
    if not dash:
        high = low
    if not (low.isdecimal() and high.isdecimal()) or int(low) > int(high):
        raise UsageError(f"--age {text} is no range of ages.", hint="Write it as 40-65, 65+ or 40.")
    # Completed years up to 65 are ages below 66.
    return float(int(low)), float(int(high) + 1)


def _code_or_key(word: str) -> str:
    # A code begins with a letter and a digit, a CCSR category is three of each; the keys of a model's conditions
    # (diabetes_type2) and the names of value sets are small words.
    return word.upper() if re.fullmatch(r"[A-Za-z]\d.*|[A-Za-z]{3}\d{3}", word) else word.lower()


def _one_of(word: str, known: tuple[str, ...], option: str) -> str:
    if word not in known:
        raise UsageError(f"{option} {word} is not one of {', '.join(known)}.")
    return word


def _cdcrec(word: str, option: str, value_set: str) -> str:
    from ehrsynth.terminology import library

    found = library.code_system("cdcrec")
    if word in found:
        return word
    members = [one for one in library.value_set(value_set) if one.system == found.uri]
    codings = {one.code: one.display or "" for one in members}
    matching = [code for code, display in codings.items() if display.lower().startswith(word.lower())]
    if len(matching) != 1:
        names = ", ".join(f"{display} ({code})" for code, display in codings.items())
        which = "is more than one" if matching else "is none"
        raise UsageError(f"{option} {word} {which} of the categories.", hint=f"They are: {names}.")
    return matching[0]
