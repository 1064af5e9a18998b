"""Exporters turn Records into files, block by block."""

from ehrsynth.exporters.part import Exporter, ExportSummary, Part, make_exporters

__all__ = ["ExportSummary", "Exporter", "Part", "make_exporters"]
