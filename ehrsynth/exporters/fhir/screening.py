"""The social needs screening of synthetic patients: answers that follow from the record, and what was concluded.

Questions that the tables answer are answered as there. Housing, work, insurance, language and stress follow from the
diagnoses, the coverage and the row of the patient; what the record cannot know is decided by the patient's id. Nothing
is made up about real patients.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.chance import chances, choices
from ehrsynth.exporters.fhir.datatypes import US_CORE
from ehrsynth.exporters.fhir.facts import coded_observations, facts, mapping, visits, with_condition
from ehrsynth.exporters.fhir.identity import derived_ids
from ehrsynth.exporters.fhir.joins import first_of_each, grouped, hits, joined, whole, with_columns
from ehrsynth.exporters.fhir.resource import Source
from ehrsynth.exporters.fhir.social import employment
from ehrsynth.exporters.keys import places_in

__all__ = ["screened", "screening_facts"]

ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
PROFILE = US_CORE + "us-core-observation-screening-assessment"
CONCLUDED = US_CORE + "us-core-simple-observation"

Codes = npt.NDArray[np.object_]


def screened(source: Source) -> pa.Table:
    """Return the visits at which patients answered, one a patient, with a column ``<code>`` for each answer.

    The first ambulatory visit of an adult since the form was published.
    """
    return source.once("screened", _screened)


def _screened(source: Source) -> pa.Table:
    form, rows = mapping("screening"), visits(source)
    if not source.synthetic:
        rows = rows.slice(0, 0)
    since = pa.scalar(form["since"], pa.string()).cast(pa.date32())
    fit = hits(rows["encounter_class"], ["AMB"]) & (rows["age"].to_numpy() >= 18)
    fit &= pc.greater_equal(whole(rows["start_datetime"]).cast(pa.date32()), since).to_numpy(zero_copy_only=False)
    fit &= chances(rows["patient_id"], "patient", "screened") < form["asked"]
    rows = rows.filter(pa.array(fit)).combine_chunks()
    rows = rows.take(pa.array(first_of_each(grouped(rows["patient_id"])))).combine_chunks()
    answers = _answers(source, rows)
    return with_columns(rows, **{code: pa.array(values.tolist(), pa.string()) for code, values in answers.items()})


def _answers(source: Source, rows: pa.Table) -> dict[str, Codes]:
    form, patients = mapping("screening"), source["patient"]

    def chance(what: str) -> npt.NDArray[np.float64]:
        return chances(rows["patient_id"], "patient", what)

    def of(values: list[list[Any]], what: str) -> Codes:
        found: Codes = np.array([code for code, _ in values], dtype=object)[choices(chance(what), values)]
        return found

    def befallen(name: str) -> npt.NDArray[np.bool_]:
        return with_condition(source, rows, {ICD_10_CM: form["decided_by"][name]})

    def own(column: str) -> Codes:
        found: Codes = (
            joined(rows["patient_id"], patients, "patient_id", column).cast(pa.string()).to_numpy(zero_copy_only=False)
        )
        return found

    def told(code: str, otherwise: Codes) -> Codes:
        said = _said(source, rows, code)
        return np.where(said == None, otherwise, said)  # noqa: E711 - an array of objects

    ages = rows["age"].to_numpy()
    languages = own("language_code")
    insurance = _insurance(source, rows)
    homeless, unstable = befallen("homeless"), befallen("unstable")
    housing = told("71802-3", np.where(homeless, "LA30190-5", "LA30189-7").astype(object))
    homeless = housing == "LA30190-5"
    worried = unstable | homeless | (chance("worried") < form["worried"])
    work: Codes = np.array([code for code, _ in form["work"]], dtype=object)[employment(rows)]
    work = np.where(befallen("unemployed"), "LA17956-6", np.where(ages >= form["retired_age"], "LA30137-6", work))
    work = told("67875-5", work)
    education = told("82589-3", of(form["education"], "education"))
    alone = befallen("transport") | (chance("transport") < form["no_transport"])
    married = own("marital_status_code") == "M"
    others = choices(chance("household"), [[0, 0.5], [1, 0.2], [2, 0.2], [3, 0.1]]) * ((ages > 25) & (ages < 55))
    poor = (insurance == "LA17849-3") | (work == "LA17956-6") | homeless
    steps = 0.25 + 0.5 * (education == "LA30193-9") + chance("income")
    income = np.where(poor, 8000 + 16000 * chance("income"), 20000 + 60000 * steps)
    english = np.array([language is not None and language.startswith("en") for language in languages], dtype=bool)
    spoken = np.where(english, "LA43-5", "LA30188-9").astype(object)
    spoken[languages == None] = None  # noqa: E711 - an array of objects
    return {
        "54899-0": spoken,
        "63512-8": (1 + married + others).astype(np.int64).astype(str).astype(object),
        "71802-3": housing,
        "93033-9": told("93033-9", np.where(worried, "LA33-6", "LA32-8").astype(object)),
        "56799-0": _unless(homeless, own("address_line")),
        "82589-3": education,
        "67875-5": work,
        "76437-3": insurance,
        "63586-2": (np.round(income, -2)).astype(np.int64).astype(str).astype(object),
        "93030-5": told("93030-5", np.where(alone, "LA30133-5", "LA32-8").astype(object)),
        "93038-8": told("93038-8", np.where(befallen("stressed"), "LA13902-4", of(form["stress"], "stress"))),
    }


_ANSWERS = ("patient_id", "effective_datetime", "value_code", "value_display", "value_text")


def _said(source: Source, rows: pa.Table, code: str) -> Codes:
    """What the tables say themselves: the latest answer until the visit, else the first after it; None where none."""
    found: Codes = np.full(len(rows), None, dtype=object)
    own = coded_observations(source, [code], _ANSWERS)
    own = own.filter(own["effective_datetime"].is_valid()).combine_chunks()
    who = places_in(whole(rows["patient_id"]), whole(own["patient_id"]))
    own, who = own.filter(pa.array(who >= 0)).combine_chunks(), who[who >= 0]
    if len(own) == 0:
        return found
    when, then = (
        whole(some).cast(pa.timestamp("s")).cast(pa.int64()).to_numpy()
        for some in (own["effective_datetime"], rows["start_datetime"])
    )
    before = when <= then[who]
    order = np.lexsort((np.where(before, when, -when), before))
    texts = pc.coalesce(*(whole(own[name]).cast(pa.string()) for name in ("value_code", "value_display", "value_text")))
    answers = mapping("screening")["as_in_tables"].get(code, {})
    for place in order.tolist():
        found[who[place]] = answers.get(texts[place].as_py(), found[who[place]])
    return found


def _unless(where: npt.NDArray[np.bool_], values: Codes) -> Codes:
    left = values.copy()
    left[where] = None
    return left


def _insurance(source: Source, rows: pa.Table) -> Codes:
    """What the type of the payer of the encounter, else of any coverage, answers; None where nothing is known."""
    covers, payers = source["coverage"], source["payer"]
    if covers.num_rows == 0:
        return np.full(len(rows), None, dtype=object)
    payer = pc.coalesce(
        joined(rows["coverage_id"], covers, "coverage_id", "payer_id"),
        joined(rows["patient_id"], covers, "patient_id", "payer_id"),
    )
    kinds = joined(pa.chunked_array([payer]), payers, "payer_id", "payer_type_code").cast(pa.string()).to_pylist()
    answers = mapping("screening")["payer_answers"]
    found = [
        "LA30194-7" if who is None or kind == "8" or kind == "81" else answers.get((kind or " ")[0])
        for who, kind in zip(payer.to_pylist(), kinds, strict=True)
    ]
    return np.array(found, dtype=object)


def screening_facts(source: Source) -> pa.Table:
    """Return the observations (`FACTS`): of the form, of its groups and questions, and what was concluded."""
    rows, form = screened(source), mapping("screening")
    panel = _fact(rows, form["panel"], None, None)
    made = [panel]
    for group, about in form["groups"].items():
        items = [(item, rows.filter(rows[item].is_valid()).combine_chunks()) for item in about["items"]]
        answered = np.zeros(len(rows), dtype=bool)
        for item, _ in items:
            answered |= rows[item].is_valid().to_numpy()
        made.append(_fact(rows.filter(pa.array(answered)).combine_chunks(), group, about["display"], form["panel"]))
        for item, those in items:
            made.append(_fact(those, item, form["questions"][item], group))
            if item in form["concluded"]:
                made.append(_conclusion(those, item))
    return pa.concat_tables([*made, _summary(rows)])


def _summary(rows: pa.Table) -> pa.Table:
    """What was told, in a sentence each, as somebody would write it down."""
    form = mapping("screening")
    told = [[form["answers"].get(answer) for answer in rows[item].to_pylist()] for item in form["summary"]["of"]]
    texts = [". ".join(part for part in parts if part) for parts in zip(*told, strict=True)]
    return facts(
        whole(rows["encounter_id"]),
        "summary",
        "encounter",
        len(rows),
        **_about(rows),
        category="social-history",
        profile=CONCLUDED,
        code_system=form["system"],
        code=form["summary"]["code"],
        display=form["summary"]["display"],
        value_text=pa.array(texts, pa.string()),
        from_fact_id=_id_of(rows, form["panel"]),
    )


def _about(rows: pa.Table) -> dict[str, Any]:
    return {
        "patient_id": rows["patient_id"],
        "encounter_id": rows["encounter_id"],
        "practitioner_id": rows["practitioner_id"],
        "effective_datetime": whole(rows["start_datetime"]).cast(pa.timestamp("s")),
        "time_precision": rows["time_precision"].cast(pa.string()),
        "topic": "sdoh",
    }


def _id_of(rows: pa.Table, what: str) -> pa.Array:
    return derived_ids(whole(rows["encounter_id"]), f"encounter/{what}")


def _fact(rows: pa.Table, code: str, display: str | None, panel: str | None) -> pa.Table:
    values = _value(rows, code) if code in rows.column_names else {}
    return facts(
        whole(rows["encounter_id"]),
        code,
        "encounter",
        len(rows),
        **_about(rows),
        **values,
        category="survey",
        profile=PROFILE,
        code_system=mapping("screening")["system"],
        code=code,
        display=display,
        panel_id=None if panel is None else _id_of(rows, panel),
        from_response=rows["encounter_id"],
    )


def _value(rows: pa.Table, code: str) -> dict[str, Any]:
    answers = whole(rows[code])
    if code in ("63512-8", "63586-2"):
        return {"value_number": answers.cast(pa.float64())}
    if code == "56799-0":
        return {"value_text": answers}
    shown = mapping("screening")["answers"]
    return {
        "value_system": mapping("screening")["system"],
        "value_code": answers,
        "value_display": pa.array([shown[answer] for answer in answers.to_pylist()], pa.string()),
    }


def _conclusion(rows: pa.Table, item: str) -> pa.Table:
    """What whoever gave care took from an answer."""
    known = mapping("screening")["concluded"][item]
    values = _value(rows, item)
    if item == "93030-5":
        values = {"value_boolean": pc.not_equal(whole(rows[item]), "LA32-8")}
    return facts(
        whole(rows["encounter_id"]),
        f"concluded {item}",
        "encounter",
        len(rows),
        **_about(rows),
        **values,
        category="social-history",
        profile=CONCLUDED,
        code_system=known["system"],
        code=known["code"],
        display=known["display"],
        from_fact_id=_id_of(rows, item),
    )
