"""How the tables of a mapping fall into parts of patients: as the rules name the patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pyarrow as pa

from ehrsynth.readers.account import Account
from ehrsynth.readers.mapping_grammar import Recipe, Rule, SourceMapping
from ehrsynth.readers.mapping_source import Sources
from ehrsynth.readers.parting import Cut, keys_of
from ehrsynth.readers.source import SourceFolder

__all__ = ["cut_of"]

_KEY = "patient_id"


def cut_of(mapping: SourceMapping, folder: SourceFolder, account: Account) -> Cut | None:
    """Return how the tables fall into parts; None if a rule makes the patient's key of more than a column.

    The patients come in the order of their rules. A table in which rows of the same patient are looked up falls into
    parts as well, any other table that is looked up belongs to all.

    Parameters
    ----------
    mapping : SourceMapping
        Without rules whose tables are not there.
    folder : SourceFolder
    account : Account
        A lenient one, which nobody reads.
    """
    sources = Sources(folder, mapping, account)
    rules = [rule for rule in mapping.rules if not rule.sources]
    named: list[tuple[str, str]] = []
    for rule in rules:
        recipe = rule.columns.get(_KEY)
        if recipe is None:
            continue
        if not recipe.column or recipe.column.startswith("@") or recipe.picks or recipe.map or recipe.part:
            return None
        named.append((sources.stem(rule.file, rule), recipe.column))
        named += [(sources.stem(one.file, rule), theirs) for one, theirs in _of_the_same(rule, recipe)]
    keys = dict(named)
    if not keys or any(keys[stem] != column for stem, column in named):
        return None
    return Cut(
        folder=folder,
        patients=partial(_patients, mapping, folder, account),
        keys=keys,
        once=frozenset(_called(rule, sources) for rule in rules if sources.stem(rule.file, rule) not in keys),
    )


def _of_the_same(rule: Rule, key: Recipe) -> list[tuple[Recipe, str]]:
    """Return what a rule takes from rows of the same patient in other files, and what these call the patient."""
    picked = [recipe for recipe in (*rule.columns.values(), *_words(rule)) if recipe.picks and recipe.file]
    pairs = [(one, one.match or key.column, one.match_own or one.match or key.column) for one in picked]
    return [(one, theirs) for one, theirs, own in pairs if own == key.column]


def _words(rule: Rule) -> list[Recipe]:
    return [rule.lookup.recipe] if rule.lookup else []


def _called(rule: Rule, sources: Sources) -> str:
    """Return what the account calls the rows of a rule."""
    return rule.label if rule.label not in ("", "source") else sources.stem(rule.file, rule)


def _patients(mapping: SourceMapping, folder: SourceFolder, account: Account) -> Iterator[pa.Array]:
    """Yield the keys of the patients in the order in which the rules have them, from the columns that this takes."""
    bare = [replace(rule, columns={_KEY: rule.columns[_KEY]}, lookup=None) for rule in mapping.of("patient")]
    sources = Sources(folder, replace(mapping, rules=tuple(bare)), account)
    for rule in bare:
        yield from keys_of(sources.rows(rule)[rule.columns[_KEY].column]).chunks
