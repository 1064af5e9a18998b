"""HTTP to a FHIR server: connections that are kept, patience with servers that are busy, and a token nobody sees.

Python's own http.client is enough: a few threads, each with one kept connection, that POST JSON. A library would add a
dependency for everybody and nothing that is needed here.
"""

from __future__ import annotations

import http.client
import os
import random
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

import orjson

from ehrsynth.errors import OutputError, UsageError

__all__ = ["TOKEN_VARIABLE", "FhirClient", "NoAnswer", "Reply", "Stopped", "is_busy", "token_from_environment"]

TOKEN_VARIABLE = "EHRSYNTH_FHIR_TOKEN"
"""The environment variable with the bearer token: the only way to give one, for it to be in no history and no log."""

_BUSY = frozenset((408, 409, 425, 429, 500, 502, 503, 504))
_LOCAL = ("127.0.0.1", "localhost", "::1")
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0


class NoAnswer(Exception):  # noqa: N818 - never leaves the package
    """The server did not answer: whether it has what was sent is not known (`sent`), or it surely has not."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason, self.sent = reason, sent


class Stopped(Exception):  # noqa: N818
    """The load is being stopped: whoever waits waits no longer."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer: its status, and its body as JSON (None if it is none)."""

    status: int
    reason: str
    body: Any
    retry_after: float | None = None
    location: str = ""

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return 200 <= self.status < 300


def is_busy(status: int) -> bool:
    """Whether the same request can succeed later."""
    return status in _BUSY


def token_from_environment() -> str:
    """Return the bearer token, empty if there is none.

    Raises
    ------
    UsageError
        It is no token; the message does not show it.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError(f"{TOKEN_VARIABLE} holds no bearer token (it has spaces or characters that no token has).")
    return token


class FhirClient:
    """Requests to one server, from any number of threads.

    Parameters
    ----------
    base : str
        Base URL, ``https://server/fhir``.
    token : str
        Bearer token, empty for none.
    timeout : float
        Seconds to wait for an answer.
    retries : int
        How often a request is repeated that the server was too busy for.
    wait : callable, optional
        Waits some seconds; by default interruptibly (`stop`).

    Raises
    ------
    UsageError
        `base` is no URL, holds a password, or would carry the token over a network in the clear.
    """

    def __init__(
        self,
        base: str,
        *,
        token: str = "",
        timeout: float = 60.0,
        retries: int = 5,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        parts = _checked(base, token)
        self.base = base.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._root = parts.path.rstrip("/")
        self._token, self._timeout, self._retries = token, timeout, retries
        self._threads = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._stop = threading.Event()
        self._wait = wait or self._pause
        # Jitter is to differ between processes; no result depends on it.
        self._chance = random.SystemRandom()

    def stop(self) -> None:
        """Let every thread that waits or is about to send give up."""
        self._stop.set()

    def close(self) -> None:
        """Close the connections of all threads, which must have come to rest."""
        while self._connections:
            self._connections.pop().close()

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def send(self, method: str, path: str = "", body: bytes | None = None) -> Reply:
        """Send one request once.

        Raises
        ------
        NoAnswer
            Nothing listens there, the connection broke, or the time is up.
        OutputError
            The server's certificate is not to be trusted.
        Stopped
            `stop` was called.
        """
        if self._stop.is_set():
            raise Stopped
        connection = self._connection()
        try:
            if connection.sock is None:
                connection.connect()
        except ssl.SSLError as error:
            raise OutputError(f"No secure connection to {self.base}: {error.reason or error}.") from None
        except OSError as error:
            connection.close()
            raise NoAnswer(f"nothing answers at {self.base}: {_why(error)}", sent=False) from None
        headers = {"Accept": "application/fhir+json", "Prefer": "return=minimal"}
        if body is not None:
            headers["Content-Type"] = "application/fhir+json"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        target = f"{self._root}/{path}" if path else self._root or "/"
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        except TimeoutError:
            connection.close()
            raise NoAnswer(f"no answer within {self._timeout:g} s", sent=True) from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise NoAnswer(f"the connection broke: {_why(error)}", sent=True) from None
        if answer.will_close:
            connection.close()
        return Reply(
            status=answer.status,
            reason=answer.reason,
            body=_parsed(data),
            retry_after=_seconds(answer.getheader("Retry-After")),
            location=answer.getheader("Location") or "",
        )

    def patiently(self, attempt: Callable[[], Reply], lost: Callable[[], Reply | None]) -> Reply:
        """Call `attempt` until it succeeds or fails for good: exponential back-off with full jitter (AWS, 2015).

        Parameters
        ----------
        attempt : callable
            Sends the request.
        lost : callable
            Called when an answer got lost, or the server broke, before the request is repeated: what stands for the
            answer, None if the request is to be repeated.

        Raises
        ------
        NoAnswer
            No answer either time.
        """
        for number in range(self._retries + 1):
            last = number == self._retries
            asked: float | None = None
            unsure = False
            try:
                reply = attempt()
                if not is_busy(reply.status) or last:
                    return reply
                asked, unsure = reply.retry_after, reply.status not in (425, 429, 503)
            except NoAnswer as failure:
                if last:
                    raise
                unsure = failure.sent
            longest = min(_FIRST_WAIT * 2**number, _LONGEST_WAIT)
            self._wait(min(asked, 10 * _LONGEST_WAIT) if asked is not None else self._chance.uniform(0, longest))
            if self._stop.is_set():
                raise Stopped
            if unsure and (found := lost()) is not None:
                return found
        raise AssertionError("unreachable")

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._threads, "connection", None)
        if found is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            found = self._threads.connection = kind(self._host, self._port, timeout=self._timeout)
            self._connections.append(found)
        return found


def _checked(base: str, token: str) -> SplitResult:
    try:
        parts = urlsplit(base)
        port = parts.port
    except ValueError:
        raise UsageError("The server's address is no URL.", hint="Write it as https://server/fhir.") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "The server's address holds a user or a password.", hint=f"Give a bearer token in {TOKEN_VARIABLE}."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or port == 0:
        raise UsageError(f"{base!r} is no address of a FHIR server.", hint="Write it as https://server/fhir.")
    if token and parts.scheme == "http" and parts.hostname not in _LOCAL:
        raise UsageError(
            "The token would cross the network in the clear.", hint=f"Use https://, or unset {TOKEN_VARIABLE}."
        )
    return parts


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _seconds(header: str | None) -> float | None:
    """Return what Retry-After asks for: seconds, or a date (RFC 9110, 10.2.3)."""
    if not header:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
