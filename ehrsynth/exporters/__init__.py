"""Exporters turn Records into files, block by block."""

from ehrsynth.exporters.part import STAGED, Exporter, ExportSummary, Finishing, Made, Note, Part, make_exporters

__all__ = ["STAGED", "ExportSummary", "Exporter", "Finishing", "Made", "Note", "Part", "make_exporters"]
