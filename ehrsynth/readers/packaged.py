"""Public formats that a packaged mapping describes, under their own names: MIMIC-IV and Synthea's CSV."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ehrsynth.errors import SourceError
from ehrsynth.readers.mapping import MappingReader
from ehrsynth.readers.mapping_file import read_mapping
from ehrsynth.readers.mapping_grammar import SourceMapping
from ehrsynth.readers.source import SourceFolder, list_tables

__all__ = ["MimicIvReader", "SyntheaCsvReader"]


class _PackagedReader(MappingReader):
    """Reads a format through the packaged mapping of it."""

    packaged: ClassVar[str]
    marks: ClassVar[frozenset[str]]
    """Tables that only this format has together."""

    def __init__(self) -> None:
        super().__init__(self.packaged)

    def recognises(self, source: Path) -> bool:
        """Whether the tables that mark the format are there (and no mapping file, which would say otherwise)."""
        if (source / "mapping.toml").is_file():
            return False
        return self.marks <= set(list_tables(source, read_mapping(self.packaged).folders))


class MimicIvReader(_PackagedReader):
    """Reads MIMIC-IV: hospital tables and, beside them, those of the emergency department (``mimic4_native``)."""

    name = "mimic-iv"
    packaged = "mimic4_native"
    marks = frozenset({"admissions", "patients", "diagnoses_icd"})

    def recognises(self, source: Path) -> bool:
        """Whether it is MIMIC-IV or its emergency module."""
        return super().recognises(source) or {"edstays", "triage"} <= set(list_tables(source, ("ed",)))

    def opened(self, source: Path | str | SourceFolder) -> tuple[SourceMapping, SourceFolder]:
        """Return the mapping and the tables; see `MappingReader.opened`.

        Raises
        ------
        SourceError
            The emergency module stands alone: it has no ages.
        """
        mapping, folder = super().opened(source)
        if "edstays" in folder and "patients" not in folder:
            raise SourceError(
                "MIMIC-IV-ED alone has no table patients, and so no ages.",
                file=folder.path,
                table="patients",
                hint="Put its tables (ed/) beside those of MIMIC-IV (hosp/), and name the folder that holds both.",
            )
        return mapping, folder


class SyntheaCsvReader(_PackagedReader):
    """Reads the CSV files that Synthea writes (``synthea_csv``)."""

    name = "synthea-csv"
    packaged = "synthea_csv"
    marks = frozenset({"patients", "encounters", "providers", "payer_transitions"})
