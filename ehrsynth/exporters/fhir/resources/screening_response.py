"""QuestionnaireResponse: the form of a social needs screening as it was filled in, groups and questions."""

from typing import Any

from ehrsynth.exporters.fhir.datatypes import US_CORE, derived_identifier, needing
from ehrsynth.exporters.fhir.facts import mapping
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.rows import Node
from ehrsynth.exporters.fhir.screening import screened
from ehrsynth.exporters.fhir.templates import Each, Later, compile_template
from ehrsynth.exporters.fhir.values import Link, Text, Time

__all__ = ["SCREENING_RESPONSE"]

FORM = "93025-5"
GROUPS = {
    "93043-8": ("54899-0",),
    "93042-0": ("63512-8", "71802-3", "93033-9", "56799-0"),
    "93041-2": ("82589-3", "67875-5", "76437-3", "63586-2", "93030-5"),
    "93040-4": ("93038-8",),
}
HOUSING = "71802-3"


def _printed(code: str) -> str:
    """What the form says at a question or group."""
    form = mapping("screening")
    return str(form["as_printed"].get(code) or form["questions"][code])


def _text(code: str) -> Later:
    return Later(lambda: _printed(code))


def _code(answer: str) -> dict[str, Any]:
    form = mapping("screening")
    return {"system": form["system"], "code": answer, "display": form["answers"][answer]}


def _answer(code: str, group: str) -> Any:
    match code:
        case "63512-8":
            return {"valueInteger": Each((code,), int)}
        case "63586-2":
            return {"valueDecimal": Each((code,), float)}
        case "56799-0":
            return {"valueString": Text(code)}
    made: dict[str, Any] = {"valueCoding": Each((code,), _code)}
    if code == HOUSING:
        # The form explains this answer below it.
        help_text = f"{code}-help"
        made["item"] = [{"linkId": f"/{group}/{help_text}", "text": _text(help_text)}]
    return made


def _question(code: str, group: str) -> Node:
    """One question; left out where it was not answered."""
    return needing({"linkId": f"/{group}/{code}", "text": _text(code), "answer": [_answer(code, group)]}, "answer")


def _group(code: str, items: tuple[str, ...]) -> Node:
    content = {"linkId": f"/{code}", "text": _text(code), "item": [_question(item, code) for item in items]}
    return needing(content, "item")


SCREENING_RESPONSE = Resource(
    type="QuestionnaireResponse",
    table="encounter",
    kind="screening_response",
    derived=True,
    rows=screened,
    profile=US_CORE + "us-core-questionnaireresponse",
    elements={
        "identifier": derived_identifier("derived_response"),
        # US Core's rendering of the form: whoever has US Core can hold the answers against it.
        "questionnaire": Later(lambda: mapping("screening")["questionnaire"]),
        "_questionnaire": compile_template(
            {
                "extension": [
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
            {
                "linkId": f"/{FORM}",
                "text": _text(FORM),
                "item": [_group(code, items) for code, items in GROUPS.items()],
            }
        ],
    },
)
