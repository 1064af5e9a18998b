"""The shipped domain models by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ehrsynth import resources
from ehrsynth.errors import ModelError
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.model.package import load
from ehrsynth.model.patient_model import PatientModel
from ehrsynth.plugins import nearest

__all__ = ["DEFAULT_MODEL", "describe", "open_model", "shipped", "size"]

DEFAULT_MODEL = "us_ambulatory"


def shipped() -> list[str]:
    """Return the names of the domain models in this installation."""
    return [name for name in resources.list_folders("domain_models") if _has_model(name)]


def _has_model(name: str) -> bool:
    return resources.folder(f"domain_models/{name}").joinpath("datapackage.json").is_file()


def describe(name: str) -> dict[str, Any]:
    """Return the ``datapackage.json`` of a shipped model: title, description, sources, licences."""
    return dict(resources.read_json(f"domain_models/{name}/datapackage.json"))


def size(name: str) -> int:
    """Return the bytes of a shipped model."""
    return len(resources.read_bytes(f"domain_models/{name}/model.ehrsynth"))


def open_model(name_or_path: str | Path | None = None) -> PatientModel | LifeCourseModel:
    """Return a model: a file or folder if there is one at that path, else a shipped model of that name.

    None is the default model.

    Raises
    ------
    ModelError
        Neither a file nor a shipped model; near names are suggested.
    """
    name = DEFAULT_MODEL if name_or_path is None else str(name_or_path)
    path = Path(name)
    if name_or_path is not None and (path.exists() or path.suffix or path.name != name):
        return load(path)
    if name not in shipped():
        raise ModelError(
            f"There is no model {name!r}, neither a file nor a shipped model.", hint=nearest(name, shipped())
        )
    return load(resources.folder(f"domain_models/{name}/model.ehrsynth"))
