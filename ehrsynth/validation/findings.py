"""Counts what checks find and keeps one example of each kind."""

from __future__ import annotations

from ehrsynth.validation.checks import check_info
from ehrsynth.validation.issue import SEVERITIES, Issue

__all__ = ["Findings"]

_MOST_DETAILS = 50


class Findings:
    """What has been found so far, by check, place and detail; the first example of each is kept."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], tuple[int, str]] = {}
        self._details: dict[tuple[str, str], int] = {}

    def add(self, check: str, place: str, example: str, *, count: int = 1, detail: str = "") -> None:
        """Count `count` occurrences of `check` at `place`.

        Parameters
        ----------
        check : str
            A name of `CHECKS`.
        place : str
            Table and column, or type and element.
        example : str
            File, line or row, identifier, value of the first of them.
        detail : str
            What this kind is about, where one check and place have several (the values allowed); after 50 kinds at one
            place the rest is counted together.
        """
        key = (check, place, detail)
        known = self._found.get(key)
        if known is None:
            if detail:
                kinds = self._details[check, place] = self._details.get((check, place), 0) + 1
                if kinds > _MOST_DETAILS:
                    return self.add(check, place, example, count=count)
            self._found[key] = (count, example)
        else:
            self._found[key] = (known[0] + count, known[1])
        return None

    def issues(self) -> list[Issue]:
        """Return the findings, the severest and most frequent first, in an order of their own."""
        issues = []
        for (check, place, detail), (count, example) in self._found.items():
            info = check_info(check)
            issues.append(
                Issue(
                    severity=info.severity,
                    category=info.category,
                    check=check,
                    message=f"{info.sentence} {detail}".rstrip(),
                    place=place,
                    count=count,
                    example=example,
                )
            )
        return sorted(issues, key=lambda i: (SEVERITIES.index(i.severity), -i.count, i.check, i.place, i.message))
