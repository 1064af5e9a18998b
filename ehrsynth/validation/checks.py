"""Every check by its stable name: what kind it is, how severe, and the sentence that a finding is reported with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ehrsynth.validation.fhir_invariants import INVARIANTS
from ehrsynth.validation.issue import Issue

__all__ = ["CHECKS", "Check", "CheckInfo", "check_info"]


@dataclass(frozen=True, kw_only=True)
class CheckInfo:
    """One check: `scope` is tables, fhir or both."""

    name: str
    category: str
    severity: str
    sentence: str
    scope: str


class Check(Protocol):
    """A stranger's check. Registered under the entry-point group ``ehrsynth.checks``; runs after the built-in ones."""

    name: str

    def check(self, source: Path, format: str) -> Iterable[Issue]:  # noqa: A002 - the word users know
        """Yield what is wrong with the records of `format` (csv, parquet, fhir-ndjson, fhir-bundle) in `source`."""
        ...


_LISTED = {
    ("both", "conformance", "error"): """
unreadable-file            The file cannot be read, or not to its end.
not-utf8                   The text is not UTF-8, or holds a zero byte.
missing-file               A file that the descriptor or manifest lists is not there.
altered-file               Size or hash of the file is not what the descriptor or manifest says.
wrong-count                The number of rows or resources is not what the descriptor or manifest says.
unreadable-descriptor      The descriptor or manifest is not what it should be.
npi-check-digit            A National Provider Identifier is not ten digits with the right check digit at the end.
not-ucum                   A unit is not a UCUM code.
other-patients-encounter   The encounter it belongs to is another patient's.
""",
    ("both", "conformance", "warning"): """
unknown-code               The code system, which is shipped, has no such code.
""",
    ("both", "plausibility", "error"): """
before-birth               It happened before the patient was born.
after-death                It happened after the patient had died.
reversed-order             What comes first is dated later.
impossible-for-sex         The code is impossible for the patient's sex.
impossible-for-age         The code is impossible for the patient's age at the time.
""",
    ("both", "plausibility", "warning"): """
outside-encounter          It is not dated on a day of the encounter it belongs to.
implausible-age            The patient would be more than 120 years old at the time.
""",
    ("tables", "conformance", "error"): """
missing-table              A table that required keys lead to is not there.
missing-column             A required column is not there.
duplicate-column           Two columns have the same name.
ragged-row                 The row has more or fewer cells than the header.
wrong-type                 The value is not of the column's type.
float-identifier           The identifier was turned into a decimal number on its way.
not-in-enumeration         The value is none of those allowed.
pattern-mismatch           The value does not have the form asked for.
out-of-range               The value is outside the range allowed.
duplicate-key              The primary key occurs more than once.
not-unique                 The value occurs more than once in a column of unique values.
orphan                     The key leads to no row of the table it refers to.
""",
    ("tables", "conformance", "warning"): """
unknown-table              The schema has no such table.
unknown-column             The schema has no such column.
""",
    ("tables", "completeness", "error"): """
empty-required             A required value is empty.
""",
    ("tables", "plausibility", "error"): """
sequence-against-dates     A patient's encounters are not in the order of their dates, or two share a place.
""",
    ("tables", "plausibility", "information"): """
duplicate-row              The row is equal to another one in everything but its key.
""",
    ("fhir", "conformance", "error"): """
invalid-json               It is not a JSON object.
missing-resource-type      The resource does not say its type.
unknown-resource-type      FHIR R4 has no such type of resource.
missing-id                 The resource has no id.
malformed-id               The id is not 1 to 64 of A-Z, a-z, 0-9, - and dot.
duplicate-id               The id is used more than once for its type.
null-value                 A JSON null, where none may be.
empty-string               An empty or blank text.
empty-array                An empty array.
empty-object               An empty object.
json-type                  The value has the wrong JSON type.
wrong-array                An array where one value is asked for, or one value where an array is.
malformed-value            The value does not have the form of its type.
unknown-element            The type has no such element.
several-choices            More than one of the types of a choice element is there.
code-not-in-value-set      The code is not in the value set that is required.
dangling-reference         The reference leads to nothing in the data.
dangling-contained         The reference leads to no contained resource.
dom-3                      A contained resource is referred to, or refers to what contains it.
malformed-reference        The reference is neither Type/id, URL, urn: nor #id.
reference-target-type      The reference leads to a type of resource that is not allowed there.
bundle-request             The request of an entry is missing or does not fit its resource.
bundle-full-url            The fullUrl of an entry is missing, malformed or not unique.
bundle-resource            The entry has no resource.
unknown-profile            US Core 6.1.0 has no such profile.
profile-of-another-type    The profile is for another type of resource.
profile-too-many           There are more values than the profile allows.
profile-fixed-value        The value is not the one that the profile fixes.
profile-value-set          The code is not in the value set that the profile requires.
profile-choice-type        The profile does not allow this type of value.
profile-target-type        The reference leads to a type of resource that the profile does not allow.
r4-model                   The R4B model of fhir.resources refuses it.
""",
    ("fhir", "conformance", "warning"): """
wrong-file                 The file is named after another type of resource.
differing-duplicate        The resource differs from one of the same id in another Bundle.
unmatched-conditional      The conditional reference matches nothing in the data.
conditional-outside-bundle A conditional reference outside a Bundle: bulk importers refuse it.
external-reference         The reference leads out of the data.
duplicate-identifier       Two resources of one type have the same identifier.
""",
    ("fhir", "completeness", "error"): """
missing-element            A required element is not there.
profile-missing-element    An element that the profile requires is not there.
""",
    ("fhir", "conformance", "information"): """
unchecked-profile          A profile is claimed whose rules are not at hand.
""",
    ("fhir", "plausibility", "information"): """
duplicate-content          The resource is equal to another one in everything but its id.
""",
}


def _listed() -> list[CheckInfo]:
    found = []
    for (scope, category, severity), lines in _LISTED.items():
        for line in lines.strip().splitlines():
            name, sentence = line.split(None, 1)
            found.append(CheckInfo(name=name, category=category, severity=severity, sentence=sentence, scope=scope))
    return found


CHECKS: tuple[CheckInfo, ...] = (
    *_listed(),
    *(
        CheckInfo(name=item.key, category="conformance", severity=item.severity, sentence=item.sentence, scope="fhir")
        for item in INVARIANTS
    ),
)
"""All built-in checks; the invariants of FHIR and US Core go by their published keys (``obs-6``, ``us-core-2``)."""

_BY_NAME = {item.name: item for item in CHECKS}


def check_info(name: str) -> CheckInfo:
    """Return the check of that name."""
    return _BY_NAME[name]
