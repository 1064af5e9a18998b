"""Engines run blocks of patients through exporters and write the output whole or not at all."""

from ehrsynth.engines.local import RunSummary, export_records, generate_files
from ehrsynth.engines.output import Output

__all__ = ["Output", "RunSummary", "export_records", "generate_files"]
