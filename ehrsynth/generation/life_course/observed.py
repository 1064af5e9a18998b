"""What stands in the rows of observations: codes, values, ranges, and how they are read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.generation.columns import Columns, column_of, labels, number_column
from ehrsynth.generation.life_course.code_systems import system
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.native import compiled

__all__ = ["ObservedColumns"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_NORMAL = ("L", "N", "H")


class ObservedColumns:
    """The labs, scales and questions of a model made ready for many blocks.

    Attributes
    ----------
    in_panel : bool[codes]
        Whether what is measured belongs to a panel; labs come first, then questions.
    share : float64[codes]
        The part of an encounter that is over when it is measured.
    """

    def __init__(self, model: LifeCourseModel) -> None:
        labs, social, scales = (model.listing(name) for name in ("labs", "social", "scales"))
        none = [None] * len(social)
        self._category = (*labs.text["category"], *["social-history"] * len(social))
        self._code = (*labs.text["loinc"], *social.text["question_code"])
        self._display = (*labs.text["display"], *social.text["question_display"])
        self._unit = (*labs.text["unit"], *none)
        nothing = np.full(len(social), np.nan)
        self._low, self._high = (np.concatenate([labs.number[name], nothing]) for name in ("low", "high"))
        self.in_panel = np.array([bool(text) for text in labs.text["panel_loinc"]] + [False] * len(social), dtype=bool)
        self.share = np.where(np.array([text != "vital-signs" for text in labs.text["category"]]), 0.55, 0.15)
        self.share = np.concatenate([self.share, np.full(len(social), 0.15)])
        # A grade or an answer without a code is words.
        codes = (*scales.text["answer_code"], *social.text["answer_code"])
        words = (*scales.text["answer_display"], *social.text["answer_display"])
        self._said = {
            "value_system": tuple(
                system(name) for name in (*scales.text["answer_system"], *social.text["answer_system"])
            ),
            "value_code": codes,
            "value_display": tuple(word if code else "" for word, code in zip(words, codes, strict=True)),
        }
        self._words = tuple("" if code else word for word, code in zip(words, codes, strict=True))
        self._read_as = (*_NORMAL, *scales.text["interpretation"], *none)

    def columns(self, code: Int, number: Float, said: Int, failed: Bool) -> Columns:
        """Return the columns of rows that have a number (NaN: none), or a grade or an answer (`said`, -1 for none)."""
        values, unit, read, absent = self._numbers(code, number, said, failed)
        made: Columns = {name: labels(said, texts) for name, texts in self._said.items()}
        text = labels(said, self._words)
        empty = text.null_count == len(text)
        return {
            **made,
            **values,
            "category": labels(code, self._category),
            "code": labels(code, self._code),
            "display": labels(code, self._display),
            "value_unit": labels(unit, self._unit),
            "value_text": pa.nulls(len(text), pa.string()) if empty else pc.cast(text, pa.string()),
            "interpretation_code": labels(read, self._read_as),
            "absent_reason_code": labels(absent, ("unknown", "not-performed")),
        }

    def _numbers(self, code: Int, number: Float, said: Int, failed: Bool) -> tuple[Columns, Int, Int, Int]:
        """Return value and range, and the labels of unit, interpretation and of why there is none; -1 for none."""
        native = compiled()
        if native is not None:
            made = {name: np.empty(len(code)) for name in ("value_number", "reference_low", "reference_high")}
            known = np.zeros((3, (len(code) + 7) // 8), dtype=np.uint8)
            found = np.empty((3, len(code)), dtype=np.int64)
            native.observed(code, number, said, failed, self._low, self._high, *made.values(), known, found)
            return (
                {name: column_of(values, bits) for (name, values), bits in zip(made.items(), known, strict=True)},
                *(found[0], found[1], found[2]),
            )
        is_known = ~np.isnan(number)
        low, high = self._low[code], self._high[code]
        side = np.where(number < low, 0, np.where(number > high, 2, np.where(np.isnan(low) & np.isnan(high), -1, 1)))
        return (
            {
                "value_number": number_column(np.where(is_known, number, 0.0), is_known),
                "reference_low": number_column(np.nan_to_num(low), is_known & ~np.isnan(low)),
                "reference_high": number_column(np.nan_to_num(high), is_known & ~np.isnan(high)),
            },
            np.where(is_known, code, -1),
            np.where(is_known, side, np.where(said >= 0, said + len(_NORMAL), -1)),
            np.where(is_known | (said >= 0), -1, np.where(failed, 1, 0)),
        )
