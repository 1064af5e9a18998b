"""Loaders bring exported files to where they are used: a FHIR server."""

from ehrsynth.loaders.fhir_server import LoadReport, load
from ehrsynth.loaders.outcomes import Outcome

__all__ = ["LoadReport", "Outcome", "load"]
