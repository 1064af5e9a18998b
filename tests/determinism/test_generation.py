"""The same seed makes the same bytes: in any process, under any hash seed, however many are asked for."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from ehrsynth.generation import Generator
from ehrsynth.records import Records

PROGRAM = """
import importlib.util, sys
def module(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    found = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
models, here = module(sys.argv[1], "models"), module(sys.argv[2], "here")
print(here.digest(here.everything(models)))
"""


def digest(records: Records) -> str:
    """Return the SHA-256 of the Arrow IPC bytes of all tables."""
    sha = hashlib.sha256()
    for name in records:
        sink = pa.BufferOutputStream()
        # A slice of a larger table is written as what it holds.
        with pa.ipc.new_stream(sink, records[name].schema) as writer:
            writer.write_table(records[name].combine_chunks())
        sha.update(name.encode())
        sha.update(sink.getvalue())
    return sha.hexdigest()


def everything(models: ModuleType) -> Records:
    """Return two blocks and the shared tables."""
    generator = Generator(models.tiny_model(), seed=123)
    shared = generator.shared()
    parts = Records.concat([generator.block(0), generator.block(5, 10)])
    tables = {t.name: shared[t.name] if t.shared else parts[t.name] for t in parts.schema.tables}
    return Records(tables=tables, schema=parts.schema, provenance=parts.provenance)


def test_the_same_seed_makes_the_same_bytes(models: ModuleType) -> None:
    assert digest(everything(models)) == digest(everything(models))
    other = Generator(models.tiny_model(), seed=124).block(0)
    assert digest(other) != digest(Generator(models.tiny_model(), seed=123).block(0))


@pytest.mark.parametrize(("hash_seed", "threads"), [("0", "1"), ("4242", "2")])
def test_other_processes_make_the_same_bytes(models: ModuleType, hash_seed: str, threads: str) -> None:
    environment = os.environ | {
        "PYTHONHASHSEED": hash_seed,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }
    assert models.__file__ is not None
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, models.__file__, str(Path(__file__))],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == digest(everything(models))


def test_the_order_in_which_blocks_are_made_does_not_matter(models: ModuleType) -> None:
    one, two = Generator(models.tiny_model(), seed=1), Generator(models.tiny_model(), seed=1)
    forward = [digest(one.block(i, 20)) for i in (0, 1, 2)]
    backward = [digest(two.block(i, 20)) for i in (2, 1, 0)]
    assert forward == backward[::-1]
    assert len(set(forward)) == 3


def test_one_family_more_moves_nobody_elses_numbers(models: ModuleType) -> None:
    model = models.tiny_model()
    from dataclasses import replace

    fewer = replace(model, families=tuple(f for f in model.families if f.table != "procedure"))
    one, two = Generator(model, seed=1).block(0), Generator(fewer, seed=1).block(0)
    for name in ("patient", "encounter", "condition", "medication_request", "observation", "immunization", "device"):
        assert one[name].equals(two[name]), name
