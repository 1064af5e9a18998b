"""The bytes do not depend on the hash seed, the number of Arrow's threads, or what was written before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import hashlib, importlib.util, sys
from pathlib import Path
import pyarrow as pa
pa.set_cpu_count(int(sys.argv[2]))
def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(sys.argv[1]) / f"{name}.py")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
small, regenerate = load("small_records"), load("regenerate_exports")
records = small.small_records()
for kind in regenerate.EXPORTERS[:: int(sys.argv[3])]:
    files = regenerate.export(kind(), records, small.split(records))
    digest = hashlib.sha256(b"".join(path.encode() + data for path, data in sorted(files.items()))).hexdigest()
    sys.stdout.write(f"{kind.name} {digest}\\n")
"""


def digests(hash_seed: str, threads: int, order: int) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT / "tests" / "golden"), str(threads), str(order)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.splitlines())


@pytest.mark.parametrize(("hash_seed", "threads", "order"), [("1", 1, 1), ("2", 4, -1)])
def test_the_same_bytes_in_every_process(hash_seed: str, threads: int, order: int) -> None:
    found = digests(hash_seed, threads, order)
    assert len(found) == 3
    assert found == digests("0", 2, 1)
