"""Where the CPU seconds of generating go: the model, patients, and for each format its text, its hashes, its files.

    python -m benchmarks.layers [--model NAME] [--patients 1024] [--formats csv,fhir-ndjson] [--output FILE]

All in this process, whose CPU seconds are counted layer by layer; the first part of patients, which fills caches,
stands apart. `python -m benchmarks` measures whole processes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ehrsynth.native import compiled
from ehrsynth.provenance import versions
from ehrsynth.randomness import BLOCK_SIZE

__all__ = ["layers"]

T = TypeVar("T")
_END = object()


def layers(model: str | None, patients: int, formats: list[str], folder: Path) -> dict[str, Any]:
    """Return CPU seconds by layer, and rows and bytes; `folder` gets one file a format."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    seconds: dict[str, float] = {}

    def timed(layer: str, work: Callable[[], T]) -> T:
        begun = time.process_time()
        made = work()
        seconds[layer] = seconds.get(layer, 0.0) + time.process_time() - begun
        return made

    def imported() -> Any:
        from ehrsynth import api, exporters, generation

        return api, exporters, generation

    api, exporters, generation = timed("imports", imported)
    loaded = timed("model", lambda: api.load_model(model))
    generator = timed("samplers and shared tables", lambda: generation.Generator(loaded, seed=1))
    shared = generator.shared()
    written = exporters.make_exporters(formats)
    rows, first = 0, True
    texts = {name: {"written": 0, "bytes": 0} for name in formats}
    for start in range(0, patients, BLOCK_SIZE):
        parts: Iterator[Any] = generator.parts(start // BLOCK_SIZE, min(BLOCK_SIZE, patients - start))
        while (part := timed(f"patients{', first' * first}", lambda p=parts: next(p, _END))) is not _END:
            rows += sum(part[table.name].num_rows for table in part.schema.tables)
            for name, exporter in written.items():
                texts_of = exporter.encode(part, shared)
                with (folder / name).open("ab") as file:
                    layer = f"{name}: {{}}{', first' * first}"
                    digest = hashlib.sha256()
                    while (text := timed(layer.format("text"), lambda t=texts_of: next(t, _END))) is not _END:
                        timed(f"{name}: sha256", lambda d=digest, t=text: d.update(t.data))
                        timed(f"{name}: file", lambda f=file, t=text: f.write(t.data))
                        texts[name]["written"] += text.rows
                        texts[name]["bytes"] += len(text.data)
            first = False
    return {"patients": patients, "rows": rows, "formats": texts, "cpu_seconds": seconds}


def main() -> None:
    """Measure, print and, if asked, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--patients", type=int, default=1024)
    parser.add_argument("--formats", default="csv,fhir-ndjson")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        found = layers(given.model, given.patients, given.formats.split(","), Path(name))
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cores": os.cpu_count(), "load_before": round(load, 2), "python": platform.python_version()},
        "versions": versions("numpy", "pyarrow"),
        "compiled": compiled() is not None,
        "model": given.model or "default",
        **found,
    }
    print("| layer | CPU s |\n|---|---:|")
    for layer, cost in found["cpu_seconds"].items():
        print(f"| {layer} | {cost:.2f} |")
    if given.output:
        given.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
