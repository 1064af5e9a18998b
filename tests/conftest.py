"""Fixtures for all tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from ehrsynth.records import Records

# How fast a machine draws examples is no property of the code: a busy one must not fail.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real records and validators beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip("needs the ../shared folder beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """The module ``tests/golden/small_records.py``: `small_records`, `split`, `replicate`."""
    return load_test_module("golden/small_records.py")


@pytest.fixture(scope="session")
def small_records() -> Records:
    """Twenty hand-made patients that cover every table and column; see ``tests/golden/small_records.py``."""
    return load_test_module("golden/small_records.py").small_records()


@pytest.fixture(scope="session")
def models() -> ModuleType:
    """The module ``tests/unit/models.py``: `tiny_model`, a hand-written patient model, and its parts."""
    return load_test_module("unit/models.py")


@pytest.fixture(scope="session")
def learning_records() -> ModuleType:
    """The module ``tests/unit/learning_records.py``: cohorts to learn from."""
    return load_test_module("unit/learning_records.py")


@pytest.fixture(scope="session")
def evaluated() -> ModuleType:
    """The module ``tests/unit/evaluation_records.py``: records in a few words, cohorts of a written-down process."""
    return load_test_module("unit/evaluation_records.py")


@pytest.fixture(scope="session")
def fhir_carried() -> ModuleType:
    """The module ``tests/unit/fhir_carried.py``: what FHIR can carry of records."""
    return load_test_module("unit/fhir_carried.py")


@pytest.fixture(scope="session")
def omop_carried() -> ModuleType:
    """The module ``tests/unit/omop_carried.py``: what OMOP can carry of records."""
    return load_test_module("unit/omop_carried.py")


@pytest.fixture(scope="session")
def synthea() -> ModuleType:
    """The module ``tests/unit/synthea_bundles.py``: Synthea's CSV as its FHIR Bundles."""
    return load_test_module("unit/synthea_bundles.py")


def load_test_module(path: str) -> ModuleType:
    """Import the module at `path` under ``tests/`` (which is no package: pytest imports by file)."""
    name = "ehrsynth_tests_" + path.removesuffix(".py").replace("/", "_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
