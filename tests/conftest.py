"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real records and validators beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip("needs the ../shared folder beside the checkout")
    return SHARED
