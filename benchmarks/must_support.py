"""Which must-support elements of the US Core profiles that an export claims occur in it, and which never do.

    python -m benchmarks.must_support OUT/fhir-ndjson --metadata ../shared/fhir/packages/inferno/metadata-v6.1.0.yml

The metadata are what ONC's (g)(10) test kit asks of each profile (inferno-framework/us-core-test-kit, Apache-2.0). Of
elements that it lets choose among (`:choices`) one is enough. Needs PyYAML.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Coverage", "coverage", "load_groups", "main", "values_at"]

Coverage = dict[str, tuple[int, list[str], list[str]]]
"""By profile: how many resources claim it, the must-support elements that occur, those that never do."""


def load_groups(path: Path) -> list[dict[str, Any]]:
    """Return the profiles of Inferno's metadata."""
    import yaml

    with path.open(encoding="utf-8") as handle:
        groups: list[dict[str, Any]] = yaml.load(handle, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))[
            ":groups"
        ]
    return groups


def coverage(resources: Iterable[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]) -> Coverage:
    """Return which must-support elements of each claimed profile occur anywhere in `resources`."""
    by_url = {group[":profile_url"]: group for group in groups}
    counts: dict[str, int] = defaultdict(int)
    missing: dict[str, dict[str, Any]] = {}
    found: dict[str, set[str]] = defaultdict(set)
    for resource in resources:
        for url in resource.get("meta", {}).get("profile", ()):
            if url not in by_url:
                continue
            if url not in missing:
                missing[url] = dict(_wanted(by_url[url]))
            counts[url] += 1
            for name in [name for name, test in missing[url].items() if test(resource)]:
                found[url].add(name)
                del missing[url][name]
    result: Coverage = {}
    for url in sorted(counts):
        absent = set(missing[url])
        for choice in by_url[url][":must_supports"].get(":choices", ()):
            names = {*choice.get(":paths", ()), *choice.get(":extension_ids", ())}
            if names & found[url]:
                absent -= names
        result[url] = (counts[url], sorted(found[url]), sorted(absent))
    return result


def _wanted(group: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name of each must-support element with the test that a resource has it."""
    asked = group[":must_supports"]
    slices = {item[":slice_id"].partition(".")[2]: item for item in asked[":slices"]}
    for item in asked[":extensions"]:
        path, url = item[":path"], item[":url"]
        yield item[":id"], lambda one, p=path, u=url: any(x.get("url") == u for x in values_at(one, p, slices))
    for item in asked[":slices"]:
        path = item[":path"]
        yield (
            item[":slice_id"],
            lambda one, p=path, s=item: any(_in_slice(x, s) for x in values_at(one, p, slices)),
        )
    for item in asked[":elements"]:
        path, fixed = item[":path"], item.get(":fixed_value")
        yield (
            path,
            lambda one, p=path, f=fixed: any(f in (None, x) and not _only_absent(x) for x in values_at(one, p, slices)),
        )


def _only_absent(value: Any) -> bool:
    """Whether a value says nothing but that nobody knows it."""
    return isinstance(value, Mapping) and set(value) == {"extension"} and "valueCode" in value["extension"][0]


def values_at(value: Any, path: str, slices: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what is at a dotted path; segments can be slices (``component:systolic``) and choices (``value[x]``)."""
    yield from _values([value], path.split("."), "", slices)


def _values(values: Iterable[Any], segments: Sequence[str], at: str, slices: Mapping[str, Any]) -> Iterator[Any]:
    if not segments:
        yield from values
        return
    segment, rest = segments[0], segments[1:]
    name, _, sliced = segment.partition(":")
    here = f"{at}.{segment}".lstrip(".")
    for value in values:
        if not isinstance(value, Mapping):
            continue
        if name.endswith("[x]"):
            stem = name.removesuffix("[x]")
            inner = [value[key] for key in value if key.startswith(stem) and key[len(stem) : len(stem) + 1].isupper()]
        elif rest and f"_{name}" in value and not isinstance(value.get(name), Mapping | list):
            # What is below a primitive element, its extensions, stands beside it.
            inner = [value[f"_{name}"]]
        else:
            inner = [value[name]] if name in value else []
        items = [item for one in inner for item in (one if isinstance(one, list) else [one])]
        if sliced and here in slices:
            items = [item for item in items if _in_slice(item, slices[here])]
        yield from _values(items, rest, here, slices)


def _in_slice(value: Any, item: Mapping[str, Any]) -> bool:
    rule = item[":discriminator"]
    kind = rule[":type"]
    if kind == "type":
        code = rule[":code"]
        kinds = {"DateTime": str, "String": str, "Quantity": dict, "CodeableConcept": dict, "Period": dict}
        return isinstance(value, kinds.get(code, object))
    if kind == "value":
        return all(
            any(found == want[":value"] for found in values_at(value, want[":path"], {})) for want in rule[":values"]
        )
    inner = list(values_at(value, rule[":path"], {})) if rule.get(":path") else [value]
    if kind == "patternIdentifier":
        return any(one.get("system") == rule[":system"] for one in inner)
    codings = [coding for one in inner for coding in (one.get("coding", [one]) if isinstance(one, Mapping) else ())]
    wanted = rule[":values"] if kind == "requiredBinding" else [rule]
    pairs = {(want.get(":system"), want.get(":code")) if isinstance(want, Mapping) else (None, want) for want in wanted}
    return any((c.get("system"), c.get("code")) in pairs or (None, c.get("code")) in pairs for c in codings)


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the resources of a folder of NDJSON, plain or gzipped."""
    for path in sorted([*folder.glob("*.ndjson"), *folder.glob("*.ndjson.gz")]):
        data = path.read_bytes()
        for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines():
            yield json.loads(line)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and return 0 if every element of every claimed profile occurs, else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of NDJSON")
    parser.add_argument("--metadata", type=Path, required=True, help="Inferno's metadata-v6.1.0.yml")
    given = parser.parse_args(arguments)
    if not given.metadata.is_file():
        print(f"There is no {given.metadata}: nothing to hold the export against.")
        return 0
    rows = coverage(read(given.folder), load_groups(given.metadata))
    there = wanted = 0
    for url, (count, found, absent) in rows.items():
        there, wanted = there + len(found), wanted + len(found) + len(absent)
        print(
            f"{url.rpartition('/')[2]:55} {count:8,} {len(found):3}/{len(found) + len(absent):<3} {', '.join(absent)}"
        )
    print(f"{there} of {wanted} must-support elements of {len(rows)} claimed profiles occur")
    return int(there < wanted)


if __name__ == "__main__":
    sys.exit(main())
