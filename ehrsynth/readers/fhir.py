"""FHIR R4 as records: bulk NDJSON and Bundles, our own, a server's $export, Synthea's, anyone's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from ehrsynth.provenance import Provenance
from ehrsynth.readers import assembly
from ehrsynth.readers.fhir_account import FhirAccount
from ehrsynth.readers.fhir_assembly import Assembly
from ehrsynth.readers.fhir_columns import Collected
from ehrsynth.readers.fhir_parting import FhirCut, FhirPart
from ehrsynth.readers.fhir_reading import Reading
from ehrsynth.readers.fhir_references import Identifiers
from ehrsynth.readers.fhir_source import is_fhir_file, read_items
from ehrsynth.readers.report import ReadReport
from ehrsynth.readers.source import list_tables
from ehrsynth.records import Records

__all__ = ["FhirReader"]


class FhirReader:
    """Reads FHIR R4: NDJSON and Bundles (transaction, batch, collection, searchset), a file or a folder, also ``.gz``.

    Choices made:

    - A row's key is the id of its resource, of one that is yet to be created (POST) the last part of its full URL.
    - References may be literal, absolute, ``urn:uuid:`` within their Bundle, ``#contained``, conditional
      (``Practitioner?identifier=system|value``) or logical (an identifier alone). The last two are looked up among the
      organizations, practitioners, roles, locations, patients and medications of the whole source. A role stands for
      its practitioner.
    - Of several codings see `fhir_elements.PREFERRED`: ICD-10-CM, LOINC, RxNorm, CVX, SNOMED CT, ICD-9-CM... A resource
      whose code is of no code system is set aside.
    - Times become UTC; how exact they are stays in the precision columns. A date without a column for it that is exact
      to the year or month is taken for its first day, and counted.
    - Components of an Observation (blood pressure) are rows that share a ``panel_id``; so do the results of one
      DiagnosticReport. The Observation LOINC 69453-9 is the patient's cause of death.
    - An Organization that a Coverage names as payor, or of type payer or insurer, is a payer.
    - A Medication that an order refers to gives it its code. ``encounter.sequence`` is counted by start.
    - A resource that comes again (what patients share, in the Bundle of each) counts once; a patient's own is an error.
    - References to types of which the source has nothing at all are left out; other references to nowhere are errors.
      Leniently, rows without their patient or encounter are set aside, other such references left out.
    - The records are synthetic if every resource carries the security label HTEST.

    What our exporter derived beside the rows (identifiers of systems ``derived_...``) and what no table is for (Claim,
    CarePlan...) is set aside and counted by type. Files are read line by line and Bundles of more than 64 MiB entry by
    entry: what grows are the columns.
    """

    name = "fhir"

    def recognises(self, source: Path) -> bool:
        """Whether it is a file with FHIR's endings, or a folder of such without tables beside them."""
        if source.is_file():
            return is_fhir_file(source)
        if not source.is_dir() or list_tables(source):
            return False
        return any(is_fhir_file(path) for path in source.iterdir() if path.is_file())

    def cut(self, source: Path) -> FhirCut:
        """Say how the resources fall into parts of patients."""
        return FhirCut(Path(source))

    def read(self, source: Path | FhirPart, *, strict: bool = True) -> tuple[Records, ReadReport]:
        """Read a file or folder of FHIR, or a part of one.

        Raises
        ------
        SourceError
            See `Reader.read`: invalid JSON, a gzip file that is cut off, no id, an unknown resourceType, a reference to
            nowhere, a value that is none of its code system...; with file and line (or entry).
        """
        if isinstance(source, FhirPart):
            tables, account, synthetic = source.tables(strict=strict)
            source = source.path
        else:
            source = Path(source)
            account = FhirAccount(source, strict=strict)
            reading = Reading(account, Collected(), Identifiers())
            for item in read_items(source, account, reading.identifiers):
                reading.take(item)
            tables = Assembly(reading.collected, reading.identifiers, reading.gone, account).tables()
            synthetic = reading.synthetic
        provenance = Provenance(
            source=f"FHIR in {source.name}",
            source_format=self.name,
            synthetic=synthetic,
            time_basis=assembly.time_basis(tables),
            details=_manifest(source),
        )
        return Records.from_tables(tables, provenance=provenance), account.close()


def _manifest(source: Path) -> dict[str, Any]:
    """As of when the data are, as the manifest of a bulk export says."""
    try:
        said = orjson.loads((source / "manifest.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    instant = said.get("transactionTime") if type(said) is dict else None
    if type(instant) is not str:
        return {}
    return {"reference_date": instant.removesuffix("T00:00:00Z")}
