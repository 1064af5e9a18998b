"""Exporters turn Records into files, block by block."""

from ehrsynth.exporters.part import Exporter, ExportSummary, Part

__all__ = ["ExportSummary", "Exporter", "Part"]
