"""What the server said: OperationOutcomes gathered by what they mean, with an example of each."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any

__all__ = ["Outcome", "Outcomes", "issues_of"]

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"\d+")
_LONGEST = 300


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Issues that differ only in numbers and ids: how many, and the first of them with the parcel it came for."""

    severity: str
    code: str
    text: str
    count: int
    example: str
    parcel: str


class Outcomes:
    """A tally of issues; threads may add at the same time.

    Parameters
    ----------
    secret : str
        What must not appear in any text, should the server echo it.
    """

    def __init__(self, secret: str = "") -> None:
        self._secret = secret
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str, str], list[Any]] = {}

    def add(self, severity: str, code: str, text: str, parcel: str) -> None:
        """Count an issue."""
        if self._secret:
            text = text.replace(self._secret, "***")
        text = " ".join(text.split())[:_LONGEST]
        key = (severity, code, _NUMBER.sub("#", _UUID.sub("…", text)))
        with self._lock:
            self._found.setdefault(key, [0, text, parcel])[0] += 1

    def add_all(self, body: Any, parcel: str) -> int:
        """Count the issues of an OperationOutcome, or of those in a response Bundle; return how many there were."""
        found = [issue for issue in issues_of(body) if issue[0] != "information"]
        for severity, code, text in found:
            self.add(severity, code, text, parcel)
        return len(found)

    def listed(self) -> list[Outcome]:
        """Return the tally, errors and the most frequent first."""
        rank = {"fatal": 0, "error": 1, "warning": 2}
        made = [
            Outcome(severity=severity, code=code, text=text, count=count, example=example, parcel=parcel)
            for (severity, code, text), (count, example, parcel) in self._found.items()
        ]
        return sorted(made, key=lambda item: (rank.get(item.severity, 3), -item.count, item.text))


def issues_of(body: Any) -> list[tuple[str, str, str]]:
    """Return severity, code and text of every issue in an OperationOutcome, or in the entries of a Bundle."""
    if type(body) is not dict:
        return []
    if body.get("resourceType") == "Bundle":
        entries = body.get("entry")
        nested = [entry for entry in entries if type(entry) is dict] if type(entries) is list else []
        responses = (entry.get("response") for entry in nested)
        return [
            issue for response in responses if type(response) is dict for issue in issues_of(response.get("outcome"))
        ]
    if body.get("resourceType") != "OperationOutcome":
        return []
    issues = body.get("issue")
    return [_issue(issue) for issue in issues if type(issue) is dict] if type(issues) is list else []


def _issue(issue: dict[str, Any]) -> tuple[str, str, str]:
    details = issue.get("details")
    said = details.get("text") if type(details) is dict else None
    where = issue.get("expression") or issue.get("location")
    place = f" ({', '.join(map(str, where))})" if type(where) is list and where else ""
    text = f"{issue.get('diagnostics') or said or 'no diagnostics'}{place}"
    return str(issue.get("severity") or "error"), str(issue.get("code") or ""), text
