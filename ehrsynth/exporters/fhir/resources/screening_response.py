"""QuestionnaireResponse: the form of a social needs screening as it was filled in, groups and questions."""

from typing import Any

from ehrsynth.exporters.fhir.datatypes import US_CORE, derived_identifier, needing
from ehrsynth.exporters.fhir.facts import mapping
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.rows import Node
from ehrsynth.exporters.fhir.screening import screened
from ehrsynth.exporters.fhir.templates import Each, compile_template
from ehrsynth.exporters.fhir.values import Link, Text, Time

__all__ = ["SCREENING_RESPONSE"]

GROUPS = {
    "93043-8": ("54899-0",),
    "93041-2": ("82589-3", "67875-5", "76437-3", "63586-2", "93030-5"),
    "93040-4": ("93038-8",),
}
QUESTIONNAIRE = "https://example.org/ehrsynth/Questionnaire/social-needs-screening"
"""Questionnaires are looked for by their URL: of this domain everybody knows that there are none (RFC 2606)."""
NUMBERS = ("63512-8", "63586-2")


def _code(answer: str) -> dict[str, Any]:
    form = mapping("screening")
    return {"valueCoding": {"system": form["system"], "code": answer, "display": form["answers"][answer]}}


def _question(code: str, answer: Any, group: str = "") -> Node:
    """One question; left out where it was not answered."""
    return needing(
        {
            "linkId": f"{group}/{code}",
            "text": Each((code,), lambda _, c=code: mapping("screening")["questions"][c]),
            "answer": [answer],
        },
        "answer",
    )


def _answer(code: str) -> Any:
    if code in NUMBERS:
        return {"valueDecimal": Each((code,), float)}
    return Each((code,), _code)


def _housing() -> Node:
    """Where somebody lives, and what is asked of them then."""
    answer = {
        "valueCoding": Each(("71802-3",), lambda answer: _code(answer)["valueCoding"]),
        "item": [_question("93033-9", _answer("93033-9"), "/71802-3")],
    }
    return _question("71802-3", needing(answer, "valueCoding"))


def _group(code: str, items: tuple[str, ...]) -> Node:
    return needing(
        {
            "linkId": f"/{code}",
            "text": Each((), lambda c=code: mapping("screening")["groups"][c]["display"], needs=()),
            "item": [_question(item, _answer(item), f"/{code}") for item in items],
        },
        "item",
    )


SCREENING_RESPONSE = Resource(
    type="QuestionnaireResponse",
    table="encounter",
    kind="screening_response",
    derived=True,
    rows=screened,
    profile=US_CORE + "us-core-questionnaireresponse",
    elements={
        "identifier": derived_identifier("derived_response"),
        "questionnaire": QUESTIONNAIRE,
        "_questionnaire": compile_template(
            {
                "extension": [
                    # The form is published, but not as a FHIR resource.
                    {"url": US_CORE + "us-core-extension-questionnaire-uri", "valueUri": "https://loinc.org/93025-5"},
                    {
                        "url": "http://hl7.org/fhir/StructureDefinition/display",
                        "valueString": "Social needs screening",
                    },
                ]
            }
        ),
        "status": "completed",
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "authored": Time("start_datetime", "time_precision"),
        "author": Link("patient"),
        "item": [
            _question("63512-8", _answer("63512-8")),
            _housing(),
            _question("56799-0", {"valueString": Text("56799-0")}),
            *(_group(code, items) for code, items in GROUPS.items()),
        ],
    },
)
