"""Invariants of FHIR R4 and US Core 6.1.0: rules between elements, by their published keys.

They are published as FHIRPath; those that records meet are written out as small functions here, because an interpreter
of FHIRPath is a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ehrsynth.validation import fhir_predicates as p

__all__ = ["INVARIANTS", "Invariant"]

Node = dict[str, Any]


@dataclass(frozen=True)
class Invariant:
    """A rule between elements of one object.

    Attributes
    ----------
    type : str
        The type, or path of the backbone element, whose every object it holds for; empty if only where a profile asks.
    key, severity, sentence : str
    holds : callable
        Whether it holds for an object, whatever shape that has.
    of_text : bool
        It is about a primitive value, and `holds` takes a text too.
    """

    type: str
    key: str
    severity: str
    sentence: str
    holds: Callable[[Node], bool]
    of_text: bool = False


# Type, key, severity, sentence; a dash: only where a profile asks.
_LISTED = """
Resource                        dom-2        error   A contained resource has none contained in it.
Resource                        dom-4        error   A contained resource has no version.
Resource                        dom-5        error   A contained resource has no security label.
Extension                       ext-1        error   An extension has a value or extensions, not both.
Narrative                       txt-2        error   A narrative says something.
Period                          per-1        error   A period starts before it ends.
Quantity                        qty-3        error   A unit with a code names its system.
Age                             age-1        error   An age is a positive number of a unit of time.
Duration                        drt-1        error   A duration with a code is in UCUM and has a value.
Distance                        dis-1        error   A distance with a value has a UCUM code.
Range                           rng-2        error   The low end of a range is below its high end.
Ratio                           rat-1        error   A ratio has numerator and denominator.
Attachment                      att-1        error   An attachment with data says its content type.
ContactPoint                    cpt-2        error   A contact point with a value says its system.
Timing.repeat                   tim-1        error   A duration needs its unit.
Timing.repeat                   tim-2        error   A period needs its unit.
Timing.repeat                   tim-4        error   A duration is not negative.
Timing.repeat                   tim-5        error   A period is not negative.
Timing.repeat                   tim-6        error   A greatest period needs a period.
Timing.repeat                   tim-7        error   A greatest duration needs a duration.
Timing.repeat                   tim-8        error   A greatest count needs a count.
Timing.repeat                   tim-9        error   An offset needs a when.
Timing.repeat                   tim-10       error   A time of day and a when exclude each other.
AllergyIntolerance              ait-1        error   An allergy that is not entered in error has a clinical status.
AllergyIntolerance              ait-2        error   An allergy entered in error has no clinical status.
Appointment                     app-2        error   An appointment has start and end, or neither.
Appointment                     app-3        error   Only proposed, cancelled or waitlisted appointments have no time.
Appointment.participant         app-1        error   A participant has a type or an actor.
CarePlan.activity               cpl-3        error   An activity has a reference or a detail, not both.
Composition.section             cmp-1        error   A section has text, entries or sections.
Condition                       con-4        error   A condition that has abated is inactive, resolved or in remission.
Condition                       con-5        error   A condition entered in error has no clinical status.
Condition.stage                 con-1        error   A stage has a summary or an assessment.
Condition.evidence              con-2        error   Evidence has a code or details.
Consent                         ppc-1        error   A consent names a policy.
FamilyMemberHistory             fhs-1        error   An age and a birth exclude each other.
FamilyMemberHistory             fhs-2        error   An estimated age needs an age.
Goal.target                     gol-1        error   A target with a detail says its measure.
Immunization.education          imm-1        error   Education has a document type or a reference.
MedicationAdministration.dosage mad-1        error   A dosage has a dose or a rate.
MedicationDispense              mdd-1        error   It is prepared before it is handed over.
Observation                     obs-6        error   A reason for an absent value comes without a value.
Observation                     obs-7        error   No component has the code of an observation that has a value.
Observation.referenceRange      obs-3        error   A reference range has a low, a high or a text.
Organization                    org-1        error   An organization has a name or an identifier.
Organization                    org-2        error   An organization has no home address.
Organization                    org-3        error   An organization has no home telephone.
Patient.contact                 pat-1        error   A contact has details or an organization.
Parameters.parameter            inv-1        error   A parameter has a value, a resource or parts.
Questionnaire.item              que-4        error   Answer options and an answer value set exclude each other.
QuestionnaireResponse.item      qrs-1        error   Items are nested beneath the item or its answer, not both.
ServiceRequest                  prr-1        error   Details of an order need its code.
Bundle                          bdl-1        error   A total is given by searches and histories only.
Bundle.entry                    bdl-8        error   A fullUrl names no version.
-                               vs-1         error   The time of a vital sign is at least as exact as a day.
-                               vs-2         error   A vital sign without components has a value or says why not.
-                               vs-3         error   A component has a value or says why not.
-                               us-core-1    error   The time of a result is at least as exact as a day.
-                               us-core-2    error   A result without components has a value or says why not.
-                               us-core-3    error   The unit of a result is in UCUM.
-                               us-core-4    warning A coded laboratory result should be in SNOMED CT.
-                               us-core-6    error   A name has family or given, an attachment its data or address.
-                               us-core-7    error   A procedure in progress or completed says when.
-                               us-core-8    error   A report that is out says of what time it is.
-                               us-core-9    error   A report that is out says when it was issued.
-                               us-core-10   error   A note that is out says of what time it is.
-                               us-core-13   error   A role has a practitioner, organization, service or location.
-                               us-core-14   error   A related person has a name or a relationship.
-                               us-core-15   error   A coverage has a member identifier.
-                               us-core-18   error   A CLIA number is ten digits with a D in third place.
-                               us-core-19   error   A NAIC number is five digits.
-                               us-core-20   error   A dispense that is completed says when it was handed over.
-                               us-core-21   error   An order has a requester.
-                               pd-1         error   A role has contact information or an endpoint.
-                               provenance-1 error   An agent that is a practitioner or device says on whose behalf.
"""

_REPORTED = p.status_in("partial", "preliminary", "final", "amended", "corrected", "appended")
_ORDERS = ("order", "original-order", "reflex-order", "filler-order", "instance-order")

_RULES: dict[str, Callable[[Node], bool]] = {
    "dom-2": p.all_contained(lambda r, m: "contained" not in r),
    "dom-4": p.all_contained(lambda r, m: not {"versionId", "lastUpdated"} & m.keys()),
    "dom-5": p.all_contained(lambda r, m: "security" not in m),
    "ext-1": p.one_of("extension", "value[x]"),
    "txt-2": p.says_something,
    "per-1": p.in_order("start", "end"),
    "qty-3": p.needs("code", "system"),
    "age-1": lambda n: p.ucum_quantity(n) and (p.number(n.get("value")) or 1) > 0,
    "drt-1": lambda n: "code" not in n or (n.get("system") == p.UCUM and "value" in n),
    "dis-1": p.ucum_quantity,
    "rng-2": p.range_in_order,
    "rat-1": p.whole_ratio,
    "att-1": p.needs("data", "contentType"),
    "cpt-2": p.needs("value", "system"),
    "tim-1": p.needs("duration", "durationUnit"),
    "tim-2": p.needs("period", "periodUnit"),
    "tim-4": p.at_least("duration", 0),
    "tim-5": p.at_least("period", 0),
    "tim-6": p.needs("periodMax", "period"),
    "tim-7": p.needs("durationMax", "duration"),
    "tim-8": p.needs("countMax", "count"),
    "tim-9": p.needs("offset", "when"),
    "tim-10": p.not_both("timeOfDay", "when"),
    "ait-1": lambda n: p.entered_in_error("allergyintolerance-verification")(n) or p.has(n, "clinicalStatus"),
    "ait-2": p.implied(p.entered_in_error("allergyintolerance-verification"), lambda n: "clinicalStatus" not in n),
    "app-2": lambda n: p.has(n, "start") == p.has(n, "end"),
    "app-3": lambda n: p.has(n, "start") or n.get("status") in ("proposed", "cancelled", "waitlist"),
    "app-1": p.any_of("type", "actor"),
    "cpl-3": p.not_both("detail", "reference"),
    "cmp-1": p.any_of("text", "entry", "section"),
    "con-4": p.condition_abated,
    "con-5": p.implied(p.entered_in_error("condition-ver-status"), lambda n: "clinicalStatus" not in n),
    "con-1": p.any_of("summary", "assessment"),
    "con-2": p.any_of("code", "detail"),
    "ppc-1": p.any_of("policy", "policyRule"),
    "fhs-1": p.not_both("age[x]", "born[x]"),
    "fhs-2": p.needs("estimatedAge", "age[x]"),
    "gol-1": p.needs("detail[x]", "measure"),
    "imm-1": p.any_of("documentType", "reference"),
    "mad-1": p.any_of("dose", "rate[x]"),
    "mdd-1": p.in_order("whenPrepared", "whenHandedOver"),
    "obs-6": p.not_both("dataAbsentReason", "value[x]"),
    "obs-7": p.components_have_other_codes,
    "obs-3": p.any_of("low", "high", "text"),
    "org-1": p.any_of("name", "identifier"),
    "org-2": p.without_use("address", "home"),
    "org-3": p.without_use("telecom", "home"),
    "pat-1": p.any_of("name", "telecom", "address", "organization"),
    "inv-1": lambda n: [p.has(n, "value[x]"), "resource" in n, "part" in n].count(True) == 1,
    "que-4": p.not_both("answerOption", "answerValueSet"),
    "qrs-1": p.not_both("answer", "item"),
    "prr-1": p.needs("orderDetail", "code"),
    "bdl-1": lambda n: "total" not in n or n.get("type") in ("searchset", "history"),
    "bdl-8": lambda n: "/_history/" not in str(n.get("fullUrl", "")),
    "vs-1": p.day_known,
    "vs-2": p.value_or_reason,
    "vs-3": p.any_of("value[x]", "dataAbsentReason"),
    "us-core-1": p.day_known,
    "us-core-2": p.value_or_reason,
    "us-core-3": p.ucum_value,
    "us-core-4": p.snomed_value,
    "us-core-6": lambda n: p.name_or_reason(n) or p.has_content(n),
    "us-core-7": p.implied(p.status_in("completed", "in-progress"), p.any_of("performed[x]")),
    "us-core-8": p.implied(_REPORTED, p.any_of("effective[x]")),
    "us-core-9": p.implied(_REPORTED, p.any_of("issued")),
    "us-core-10": p.implied(_REPORTED, p.any_of("effective[x]")),
    "us-core-13": p.any_of("practitioner", "organization", "healthcareService", "location"),
    "us-core-14": p.any_of("name", "relationship"),
    "us-core-15": p.member_id,
    "us-core-18": p.identifier_like(r"[0-9]{2}D[0-9]{7}"),
    "us-core-19": p.identifier_like(r"[0-9]{5}"),
    "us-core-20": p.implied(p.status_in("completed"), p.any_of("whenHandedOver")),
    "us-core-21": p.implied(lambda n: n.get("intent") in _ORDERS, p.any_of("requester")),
    "pd-1": p.any_of("telecom", "endpoint"),
    "provenance-1": p.implied(p.acts_for_others, p.any_of("onBehalfOf")),
}

_OF_TEXT = ("us-core-1", "vs-1")


def _listed() -> list[Invariant]:
    found = []
    for line in _LISTED.strip().splitlines():
        kind, key, severity, sentence = line.split(None, 3)
        found.append(Invariant("" if kind == "-" else kind, key, severity, sentence, _RULES[key], key in _OF_TEXT))
    return found


INVARIANTS: tuple[Invariant, ...] = tuple(_listed())
"""Left out: us-core-5 (contradicts its own sentence), us-core-16 and 17 (the check `npi-check-digit`)."""
