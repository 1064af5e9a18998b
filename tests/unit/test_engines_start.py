"""Generating loads no pandas, and whoever asks for pandas afterwards gets it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ehrsynth.errors import UsageError

PROGRAM = """
import sys
import numpy as np
import pyarrow as pa
from ehrsynth.engines.start import leave_pandas_out

before = list(sys.meta_path)
leave_pandas_out(["csv", "fhir-ndjson"])
table = pa.table({"a": pa.array(np.arange(3)), "b": pa.array(["x", None, "y"])})
assert "pandas" not in sys.modules
assert sys.meta_path == before
frame = table.to_pandas()
assert frame["a"].tolist() == [0, 1, 2]
assert pa.Table.from_pandas(frame)["b"].null_count == 1
leave_pandas_out(["csv"])
assert table.to_pandas().shape == (3, 2)
"""


def test_pandas_stays_out_until_it_is_asked_for() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_an_unknown_format() -> None:
    from ehrsynth.engines.start import leave_pandas_out

    with pytest.raises(UsageError, match="csv"):
        leave_pandas_out(["cvs"])


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_memory_of_arrays_is_kept_for_the_next() -> None:
    code = """
import resource, sys
import numpy as np
from ehrsynth.engines.start import keep_memory

if sys.argv[1] == "keep":
    keep_memory()
for _ in range(20):
    arrays = [np.ones(1_000_000) for _ in range(8)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", code, how], check=True, capture_output=True).stdout)
        for how in ("keep", "give")
    }
    # Twenty times 64 MB are 312,500 pages.
    assert faults["keep"] < faults["give"] / 2


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_gaps_between_arrays_are_given_back() -> None:
    code = """
import numpy as np
from ehrsynth.engines.start import give_memory_back, keep_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

keep_memory()
arrays = [np.ones(125_000) for _ in range(200)]
arrays = arrays[::10]
before = resident()
give_memory_back()
print(before - resident())
assert all((array == 1).all() for array in arrays)
"""
    given = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    # 180 gaps of 1 MB.
    assert given > 100 or given == 0 == _trims()


def _trims() -> int:
    import ctypes

    return int(hasattr(ctypes.CDLL(None), "malloc_trim"))
