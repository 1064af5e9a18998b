"""QuestionnaireResponse: the answers of a survey, as the observations have them that were made of it."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ehrsynth.exporters.fhir.datatypes import US_CORE, coding, make_concept
from ehrsynth.exporters.fhir.identity import SYSTEM
from ehrsynth.exporters.fhir.joins import grouped, whole
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.surveys import answers
from ehrsynth.exporters.fhir.templates import Each, First, Many, compile_template
from ehrsynth.exporters.fhir.values import Code, Link, Number, OwnId, Text, Time
from ehrsynth.exporters.keys import least_of_each

__all__ = ["QUESTIONNAIRE_RESPONSE"]


def _rows(source: Source) -> pa.Table:
    rows = answers(source)
    least = least_of_each(grouped(rows["response_key"]), whole(rows["observation_id"]))
    return rows.take(pa.array(least)).combine_chunks()


def _others(source: Source) -> Mapping[str, pa.Table]:
    return {"answers": answers(source)}


def _question(code: str, system: str | None, display: str | None) -> str | None:
    made = make_concept(system, code, display)
    return made["text"] if made and "text" in made else code


def _questionnaire(code: str, system: str | None, display: str | None) -> dict[str, Any]:
    return {
        "extension": [
            {"url": US_CORE + "us-core-extension-questionnaire-uri", "valueUri": f"{SYSTEM}/questionnaire/{code}"},
            {
                "url": "http://hl7.org/fhir/StructureDefinition/display",
                "valueString": _question(code, system, display),
            },
        ]
    }


ITEM = compile_template(
    {
        "linkId": Code("code"),
        "text": Each(("code", "code_system", "display"), _question),
        "answer": [
            First(
                (
                    compile_template({"valueDecimal": Number("value_number")}),
                    compile_template({"valueCoding": coding("value_system", "value_code", "value_display")}),
                    compile_template({"valueString": Text("value_text")}),
                )
            )
        ],
    }
)

QUESTIONNAIRE_RESPONSE = Resource(
    type="QuestionnaireResponse",
    table="observation",
    key="response_key",
    kind="questionnaire_response",
    derived=True,
    rows=_rows,
    others=_others,
    profile=US_CORE + "us-core-questionnaireresponse",
    elements={
        "identifier": {"system": f"{SYSTEM}/questionnaire_response", "value": OwnId()},
        # The questionnaire is no FHIR resource: US Core's extension says which it was.
        "_questionnaire": Each(("code", "code_system", "display"), _questionnaire),
        "status": "completed",
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "authored": Time("effective_datetime", "time_precision"),
        "author": Link("practitioner"),
        "item": Many("answers", "response_key", "response_key", ITEM),
    },
)
