"""Any layout of source files, described by a small mapping file, as Records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ehrsynth.errors import UsageError
from ehrsynth.provenance import Provenance
from ehrsynth.readers import assembly
from ehrsynth.readers.account import Account
from ehrsynth.readers.database import is_database
from ehrsynth.readers.mapping_cut import cut_of
from ehrsynth.readers.mapping_file import packaged_mappings, read_mapping
from ehrsynth.readers.mapping_grammar import SourceMapping
from ehrsynth.readers.mapping_records import Building
from ehrsynth.readers.mapping_source import Sources
from ehrsynth.readers.parting import Cut
from ehrsynth.readers.report import ReadReport
from ehrsynth.readers.source import SourceFolder, list_tables, open_source
from ehrsynth.records import Records

__all__ = ["MappingReader"]

MAPPING_FILE = "mapping.toml"


class MappingReader:
    """Reads a folder of CSV, TSV (also gzipped) or Parquet files as a mapping file says; see ``MAPPING.md``.

    Choices made:

    - Dates of the time bases ``offset`` and ``order`` are days counted from the mapping's origin, a nominal day.
    - A row without an encounter belongs to the encounter of its patient that holds its day (the last begun).
    - Rows before birth, or more than a day after death, are set aside; other times are cut to the life.
    - Keys are kept as they stand; a table without a key gets one of rule and row number.
    - Each rule has its own line in the account: rows read, rows taken, rows set aside and why.

    Parameters
    ----------
    mapping : str or Path, optional
        A TOML file, or the name of a packaged mapping; default: ``mapping.toml`` in the source folder.
    """

    name = "mapping"

    def __init__(self, mapping: str | Path | None = None) -> None:
        self.mapping = mapping

    def recognises(self, source: Path) -> bool:
        """Whether the folder has tables and a ``mapping.toml``."""
        return (source / MAPPING_FILE).is_file() and bool(list_tables(source))

    def cut(self, source: Path | str) -> Cut | None:
        """Say how the tables fall into parts of patients; None if that does not follow from the mapping's rules."""
        mapping, folder = self.opened(source)
        account = Account(folder.path, self.name, strict=False)
        return cut_of(_of_what_is_there(mapping, folder, account), folder, account)

    def read(self, source: Path | str | SourceFolder, *, strict: bool = True) -> tuple[Records, ReadReport]:
        """Read a folder, or a database by its URL, through the mapping.

        Raises
        ------
        UsageError, SourceError
            See `opened`, and `Reader.read`.
        """
        mapping, folder = self.opened(source)
        return self.read_tables(folder, mapping, Account(folder.path, self.name, strict=strict))

    def opened(self, source: Path | str | SourceFolder) -> tuple[SourceMapping, SourceFolder]:
        """Return the mapping, and the tables of a folder or database that it is for.

        Raises
        ------
        UsageError
            No mapping was named, and none is in the folder.
        SourceError
            Something in the mapping or in the source cannot be.
        """
        path = source.path if isinstance(source, SourceFolder) else source
        beside = None if is_database(path) else Path(path) / MAPPING_FILE
        if self.mapping is None and (beside is None or not beside.is_file()):
            raise UsageError(
                "The format mapping needs a mapping.",
                hint=f"Name a file (--mapping FILE.toml), one of {', '.join(packaged_mappings())}, "
                f"or have one proposed: ehrsynth inspect SOURCE -o {MAPPING_FILE}.",
            )
        mapping = read_mapping(self.mapping or beside or "")
        return mapping, open_source(source, null_values=("", *mapping.missing), within=mapping.folders)

    def read_tables(self, folder: SourceFolder, mapping: SourceMapping, account: Account) -> tuple[Records, ReadReport]:
        """Read opened tables through a mapping; the account is kept in `account`."""
        mapping = _of_what_is_there(mapping, folder, account)
        tables = Building(mapping, Sources(folder, mapping, account), account).run()
        basis = mapping.time_basis or assembly.time_basis(tables)
        if basis == "order":
            account.note(f"Only the order of encounters is known: ages hold on the nominal day {mapping.origin}.")
        elif basis == "offset":
            account.note(f"Days are counted from the nominal day {mapping.origin}: only intervals are true.")
        provenance = Provenance(
            source=mapping.source or f"tables in {folder.name}, through the mapping {mapping.name}",
            source_format=self.name,
            licence=mapping.licence,
            time_basis=basis,
            details={"mapping": mapping.name},
        )
        return Records.from_tables(tables, provenance=provenance), account.report


def _of_what_is_there(mapping: SourceMapping, folder: SourceFolder, account: Account) -> SourceMapping:
    """Return the mapping without optional rules whose tables are not there; that, and what no rule reads, is noted."""
    kept, missing = [], []
    for rule in mapping.rules:
        if any(name in folder for name in rule.without):
            continue
        if rule.optional and rule.file not in folder:
            missing.append(rule.file)
            continue
        lost = [name for name, recipe in rule.columns.items() if recipe.optional and recipe.file not in folder]
        missing += [rule.columns[name].file for name in lost]
        kept.append(replace(rule, columns={name: recipe for name, recipe in rule.columns.items() if name not in lost}))
    if missing:
        account.note(f"Not there, and not needed: {', '.join(dict.fromkeys(missing))}.")
    named = {rule.file for rule in kept}
    named |= {recipe.file for rule in kept for recipe in rule.columns.values()}
    unread = [name for name in folder.files if name not in named]
    if unread and len(folder.files) > 1:
        account.note(f"No rule reads: {', '.join(unread)}.")
    return replace(mapping, rules=tuple(kept))
