"""The wheel holds the data and nothing that it should not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the tracked files."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_holds_every_data_file(wheel: zipfile.ZipFile) -> None:
    held = set(wheel.namelist())
    for house in ("domain_models", "vocabularies", "output_schemas"):
        listed = subprocess.run(["git", "ls-files", "-z", house], cwd=ROOT, capture_output=True, check=True).stdout
        for name in filter(None, listed.decode().split("\0")):
            if (ROOT / name).is_file():
                assert f"ehrsynth/{name}" in held
    assert "ehrsynth/py.typed" in held
    if shutil.which("cc") and os.name != "nt":
        # Only with a compiler are the inner loops in C there; without one the wheel is whole all the same.
        assert [name for name in held if name.startswith("ehrsynth/_native.") and name.endswith(".so")]


def test_the_wheel_holds_no_tests_and_no_surprises(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ehrsynth"}
    assert not [name for name in wheel.namelist() if "tests/" in name or name.endswith((".pkl", ".pickle"))]


def test_vocabularies_and_models_stay_small(wheel: zipfile.ZipFile) -> None:
    sizes = {"vocabularies": 20, "domain_models": 15}
    for house, limit in sizes.items():
        total = sum(item.file_size for item in wheel.infolist() if item.filename.startswith(f"ehrsynth/{house}/"))
        assert total <= limit * 1e6
