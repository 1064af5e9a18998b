"""Engines run blocks of patients through exporters; the output appears whole or not at all, and can be resumed."""

from ehrsynth.engines.local import RunSummary, export_records, generate_files
from ehrsynth.engines.output import Output

__all__ = ["Output", "RunSummary", "export_records", "generate_files"]
