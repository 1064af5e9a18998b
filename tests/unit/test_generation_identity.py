"""Identities: names and titles that fit the person they are given to."""

import pyarrow as pa

from ehrsynth.generation.identity import identities


def titles(sex: list[str | None], birth_year: int = 1960) -> list[str | None]:
    people = identities(
        len(sex),
        sex=pa.array(sex, pa.string()),
        birth_year=[birth_year] * len(sex),
        reference_year=2020,
        seed=3,
        block=0,
    )
    assert None not in people["given_name"].to_pylist()
    return people["name_prefix"].to_pylist()


def test_a_title_fits_the_sex() -> None:
    assert titles(["male", "female"]) == ["Mr.", "Ms."]


def test_who_has_no_sex_has_a_name_without_a_title() -> None:
    assert titles([None, "male", "unknown", "other"]) == [None, "Mr.", None, None]


def test_a_child_has_no_title() -> None:
    assert titles(["male", "female"], birth_year=2015) == [None, None]
