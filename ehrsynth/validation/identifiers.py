"""Check digits of identifiers."""

from __future__ import annotations

from typing import Any

__all__ = ["NPI", "npi_is_valid", "valid_npis"]

NPI = "http://hl7.org/fhir/sid/us-npi"

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def npi_is_valid(text: str) -> bool:
    """Whether `text` is a National Provider Identifier: ten digits that pass Luhn's check after the prefix 80840.

    Source: CMS, "Requirements for National Provider Identifier and NPI Check Digit" (2004); 24 is the prefix's share.
    """
    if len(text) != 10 or not (text.isascii() and text.isdigit()):
        return False
    digits = [int(digit) for digit in text]
    return (24 + sum(_DOUBLED[digit] for digit in digits[0::2]) + sum(digits[1::2])) % 10 == 0


def valid_npis(values: Any) -> Any:
    """Return whether each of an array of texts is a valid NPI, as a boolean array; an absent one is valid."""
    import pyarrow as pa

    distinct = values.dictionary_encode()
    distinct = distinct.combine_chunks() if isinstance(distinct, pa.ChunkedArray) else distinct
    answers = pa.array(
        [text is None or npi_is_valid(text) for text in distinct.dictionary.to_pylist()], type=pa.bool_()
    )
    return answers.take(distinct.indices).fill_null(True)
