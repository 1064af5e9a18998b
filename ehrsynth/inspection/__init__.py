"""Looks at a source that nobody described, and proposes a mapping for it: keys, references, codes, dates, roles."""

from ehrsynth.inspection.findings import Inspection, KeyFound, ReferenceFound, TableFound, level
from ehrsynth.inspection.proposal import propose
from ehrsynth.inspection.source import inspect

__all__ = ["Inspection", "KeyFound", "ReferenceFound", "TableFound", "inspect", "level", "propose"]
