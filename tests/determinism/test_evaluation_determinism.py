"""The same records, seed and settings give the same report, whatever the hash seed and the number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from ehrsynth.evaluation import evaluate

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import evaluation_records
from ehrsynth.evaluation import evaluate
real, synthetic = evaluation_records.population(1, 90), evaluation_records.population(2, 90)
sys.stdout.write(evaluate(real, synthetic, bootstrap=12, seed=4).to_csv())
"""


def test_two_processes_say_the_same(tmp_path: Path, evaluated: ModuleType) -> None:
    folder = Path(__file__).parents[1] / "unit"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    said = []
    for hash_seed, threads in (("0", "1"), ("1", "2")):
        done = subprocess.run(
            [sys.executable, str(script), str(folder)],
            capture_output=True,
            text=True,
            check=True,
            env={
                **os.environ,
                "PYTHONHASHSEED": hash_seed,
                "OMP_NUM_THREADS": threads,
                "OPENBLAS_NUM_THREADS": threads,
            },
        )
        said.append(done.stdout)
    assert said[0] == said[1]
    assert "detection.auc" in said[0]
    here = evaluate(evaluated.population(1, 90), evaluated.population(2, 90), bootstrap=12, seed=4)
    assert said[0] == here.to_csv().replace("\r\n", "\n")


def test_another_seed_moves_intervals_and_not_values(evaluated: ModuleType) -> None:
    real, synthetic = evaluated.population(1, 90), evaluated.population(2, 90)
    one, two = (evaluate(real, synthetic, metrics=["temporal"], bootstrap=30, seed=seed) for seed in (1, 2))
    assert [result.value for result in one.results] == [result.value for result in two.results]
    assert [result.interval for result in one.results] != [result.interval for result in two.results]


def test_a_metric_alone_says_what_it_says_among_others(evaluated: ModuleType) -> None:
    real, synthetic = evaluated.population(1, 90), evaluated.population(2, 90)
    together = evaluate(real, synthetic, metrics=["person", "codes", "temporal"], bootstrap=15)
    for result in evaluate(real, synthetic, metrics=["temporal"], bootstrap=15).results:
        assert result == together[result.name]
