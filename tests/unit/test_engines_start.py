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
