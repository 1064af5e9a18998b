"""How the recipes of the shipped models are run: sources in, a model package out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ehrsynth.model import PatientModel
from ehrsynth.model.package import save

__all__ = ["run"]


def run(build: Callable[[Path], PatientModel]) -> None:
    """Build a model from the folder of sources, and write it, as the two arguments of the command line say."""
    sources, output = map(Path, sys.argv[1:3])
    save(build(sources), output)
