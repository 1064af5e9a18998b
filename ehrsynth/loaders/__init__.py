"""Loaders bring exported files to where they are used: a FHIR server, a database."""

from ehrsynth.loaders.database import DatabaseReport, load_database
from ehrsynth.loaders.fhir_server import LoadReport, load
from ehrsynth.loaders.outcomes import Outcome

__all__ = ["DatabaseReport", "LoadReport", "Outcome", "load", "load_database"]
