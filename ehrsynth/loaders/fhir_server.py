"""Loading a FHIR server: parcels sent by a few threads, noted in a journal, and an account of what the server said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ehrsynth.errors import OutputError, SourceError, UsageError
from ehrsynth.loaders.fhir_client import TOKEN_VARIABLE, FhirClient, NoAnswer, Reply, Stopped, is_busy
from ehrsynth.loaders.fhir_parcels import Message, Parcel, Stage, plan
from ehrsynth.loaders.journal import Journal
from ehrsynth.loaders.outcomes import Outcome, Outcomes, issues_of

__all__ = ["LoadReport", "load"]

Progress = Callable[[int, int], None]
"""Called with (parcels done, parcels in all)."""

Issues = list[tuple[str, str, str]]
"""Severity, code and text of each."""

_UNKNOWN = 424
"""Stands for the status of an answer that was lost for good."""

_GIVE_UP_AFTER = 5
"""Parcels in a row that the server did not take for trouble of its own, after which the rest is not tried."""


@dataclass(kw_only=True)
class LoadReport:
    """What became of a load.

    Attributes
    ----------
    server, journal : str
    parcels : int
        Bundles (or batches of lines) in all.
    loaded, before, failed : int
        Those loaded now, those that an earlier run had loaded, those that were not loaded.
    resources : int
        Resources that the server took now.
    refused : int
        Resources that it did not take.
    outcomes : list of Outcome
        What it had to say, errors first.
    seconds : float
    """

    server: str
    journal: str
    parcels: int = 0
    loaded: int = 0
    before: int = 0
    failed: int = 0
    resources: int = 0
    refused: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        return asdict(self)


def load(
    source: Path,
    base: str,
    *,
    token: str = "",
    method: str = "put",
    concurrency: int = 4,
    journal: Path | None = None,
    retries: int = 5,
    timeout: float = 60.0,
    progress: Progress | None = None,
    wait_for: Callable[[float], None] | None = None,
) -> LoadReport:
    """Load Bundles or NDJSON into a FHIR server.

    Bundles are posted one by one, those without a patient first; NDJSON goes as batches of PUT, type by type. What the
    journal says is done is not sent again. With `method` ``put`` whatever has an id is put under it, so that sending
    twice makes nothing twice; with ``post`` Bundles are sent as they stand, for servers that choose ids themselves: if
    an answer was lost, a Bundle is sent again only if the server does not know its patient's identifier.

    Parameters
    ----------
    source : Path
        Folder (or file) of Bundles or of NDJSON, also ``.gz``.
    base : str
        The server's base URL.
    token : str
        Bearer token; see `token_from_environment`.
    method : str
        ``put`` or ``post``.
    concurrency : int
        Requests under way at once, 1 to 64.
    journal : Path, optional
        Default: ``<source>.load.journal`` beside the source.
    retries : int
        How often a parcel is sent again that the server was too busy for (429, 5xx, no answer).
    timeout : float
        Seconds to wait for an answer.
    progress : callable, optional
    wait_for : callable, optional
        Waits some seconds between attempts (for tests).

    Returns
    -------
    LoadReport
        Also if parcels failed: look at `failed`.

    Raises
    ------
    SourceError, UsageError
        There is nothing to load, or the address or an option cannot be.
    OutputError
        Nothing listens there, the server knows us not (401, 403), is no FHIR server, or keeps failing. The journal
        keeps what was loaded.
    """
    if not 1 <= concurrency <= 64:
        raise UsageError(f"The concurrency is {concurrency}; it must be 1 to 64.")
    if retries < 0 or timeout <= 0:
        raise UsageError("Neither retries nor the timeout can be negative, nor the timeout 0.")
    source = Path(source)
    stages = plan(source, method=method)
    client = FhirClient(base, token=token, timeout=timeout, retries=retries, wait=wait_for)
    where = journal or source.absolute().parent / f"{source.absolute().name}.load.journal"
    started = time.perf_counter()
    _greet(client)
    with Journal(where, client.base) as kept:
        loading = _Loading(client, kept, Outcomes(token), sum(stage.count for stage in stages), progress)
        loading.report.journal = str(where)
        try:
            for stage in stages:
                loading.run(stage, concurrency)
        finally:
            loading.report.outcomes = loading.outcomes.listed()
            loading.report.seconds = time.perf_counter() - started
    return loading.report


def _greet(client: FhirClient) -> None:
    """Ask for the server's capabilities: whether it is there, is one of FHIR R4, and knows us."""
    try:
        reply = client.patiently(lambda: _once(client), lambda: None)
    except NoAnswer as failure:
        raise _unreachable(client, failure) from None
    finally:
        client.close()
    _check_access(client, reply)
    found = reply.body if type(reply.body) is dict else {}
    if not reply.ok or found.get("resourceType") != "CapabilityStatement":
        raise OutputError(
            f"There is no FHIR server at {client.base}: its metadata answer with {reply.status} {reply.reason}.",
            hint="Give the base URL, e.g. https://server/fhir.",
        )
    version = found.get("fhirVersion")
    if type(version) is str and not version.startswith("4."):
        raise OutputError(f"The server speaks FHIR {version}; what is to be loaded is R4.")


def _once(client: FhirClient) -> Reply:
    try:
        return client.send("GET", "metadata")
    except NoAnswer as failure:
        if not failure.sent:
            raise _unreachable(client, failure) from None
        raise


def _unreachable(client: FhirClient, failure: NoAnswer) -> OutputError:
    return OutputError(
        f"The server cannot be reached: {failure.reason}.", hint=f"Is it running, and {client.base} its address?"
    )


def _check_access(client: FhirClient, reply: Reply) -> None:
    if reply.status in (401, 403):
        raise OutputError(
            f"The server does not let us in: {reply.status} {reply.reason}.",
            hint=f"Put a bearer token that may write into the environment variable {TOKEN_VARIABLE}.",
        )
    if 300 <= reply.status < 400:
        raise OutputError(
            f"The server at {client.base} sends us elsewhere: {reply.status} to {reply.location or 'nowhere'}.",
            hint="Give that address.",
        )


class _Loading:
    """Sends stages and keeps count."""

    def __init__(
        self, client: FhirClient, journal: Journal, outcomes: Outcomes, total: int, progress: Progress | None
    ) -> None:
        self.client, self.journal, self.outcomes = client, journal, outcomes
        self.report = LoadReport(server=client.base, journal="", parcels=total)
        self._progress = progress
        self._lock = threading.Lock()
        self._in_a_row = 0

    def run(self, stage: Stage, concurrency: int) -> None:
        """Send all parcels of a stage, at most `concurrency` at once and twice as many in memory."""
        pool = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="load")
        under_way: set[Future[None]] = set()
        try:
            for parcel in stage.parcels():
                if len(under_way) >= 2 * concurrency:
                    under_way = self._settle(under_way)
                under_way.add(pool.submit(self._send, parcel))
            while under_way:
                under_way = self._settle(under_way)
        except BaseException:
            self.client.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self.client.close()

    def _settle(self, under_way: set[Future[None]]) -> set[Future[None]]:
        finished, rest = wait(under_way, return_when=FIRST_COMPLETED)
        for future in finished:
            future.result()
        if self._progress is not None:
            report = self.report
            self._progress(report.loaded + report.before + report.failed, report.parcels)
        if self._in_a_row >= _GIVE_UP_AFTER:
            report = self.report
            last = next((item.example for item in self.outcomes.listed()), "no answer")
            raise OutputError(
                f"The server keeps failing ({last}): stopped after {report.loaded + report.before} "
                f"of {report.parcels} parcels were loaded.",
                hint=f"Run the command again when it is well; it goes on from {self.journal.path}.",
            )
        return rest

    def _send(self, parcel: Parcel) -> None:
        try:
            digest, message = parcel.open()
        except SourceError as error:
            self.outcomes.add("error", "source", str(error), parcel.name)
            self._count("failed")
            return
        if self.journal.is_done(parcel.name, digest):
            self._count("before")
            return
        delivery = _Delivery(self.client, message)
        try:
            if self.journal.was_begun(parcel.name, digest) and (found := delivery.lost()) is not None:
                # An earlier run sent it and died before the answer came.
                self._judge(parcel, digest, message, delivery, found)
                return
        except Stopped:
            return
        self.journal.begin(parcel.name, digest)
        try:
            reply = self.client.patiently(delivery.attempt, delivery.lost)
        except Stopped:
            return
        except NoAnswer as failure:
            self.outcomes.add("error", "transport", failure.reason, parcel.name)
            self._count("failed", refused=len(message.entries), trouble=True)
            return
        self._judge(parcel, digest, message, delivery, reply)

    def _judge(self, parcel: Parcel, digest: str, message: Message, delivery: _Delivery, reply: Reply) -> None:
        _check_access(self.client, reply)
        said = self.outcomes.add_all(reply.body, parcel.name)
        if not reply.ok and not said and not delivery.waiting:
            self.outcomes.add("error", f"http-{reply.status}", f"{reply.status} {reply.reason}", parcel.name)
        for text, issues in (*delivery.refused, *delivery.waiting):
            for severity, code, diagnostics in issues or [("error", "entry", text)]:
                self.outcomes.add(severity, code, diagnostics, parcel.name)
        refused = len(delivery.refused) + len(delivery.waiting)
        if reply.ok and not refused:
            self.journal.done(parcel.name, digest)
            self._count("loaded", taken=len(message.entries))
            return
        if not reply.ok and reply.status != _UNKNOWN and not is_busy(reply.status):
            self.journal.refuse(parcel.name, digest)
        refused = refused or len(message.entries)
        self._count(
            "failed",
            taken=len(message.entries) - refused,
            refused=refused,
            trouble=not reply.ok and is_busy(reply.status),
        )

    def _count(self, what: str, *, taken: int = 0, refused: int = 0, trouble: bool = False) -> None:
        with self._lock:
            report = self.report
            setattr(report, what, getattr(report, what) + 1)
            report.resources += taken
            report.refused += refused
            if what != "before":
                self._in_a_row = self._in_a_row + 1 if trouble else 0


class _Delivery:
    """One parcel on its way: of a batch, the entries that the server was too busy for are sent again.

    `refused` and `waiting` are entries of a batch that the server will not and did not yet take: what they are, and
    the issues it raised.
    """

    def __init__(self, client: FhirClient, message: Message) -> None:
        self._client, self._message = client, message
        self._entries = message.entries
        self.refused: list[tuple[str, Issues]] = []
        self.waiting: list[tuple[str, Issues]] = []

    def attempt(self) -> Reply:
        """Send what is to be sent; a batch of which something has to wait counts as busy."""
        reply = self._client.send("POST", "", self._message.body(self._entries))
        if not reply.ok or self._message.kind != "batch":
            return reply
        answers = reply.body.get("entry") if type(reply.body) is dict else None
        if type(answers) is not list or len(answers) != len(self._entries):
            return Reply(status=502, reason="an answer without an entry for each of the batch", body=None)
        again, self.waiting = [], []
        for entry, answer in zip(self._entries, answers, strict=True):
            found = answer.get("response") if type(answer) is dict else None
            response = found if type(found) is dict else {}
            status = str(response.get("status", ""))
            code = int(status[:3]) if status[:3].isdecimal() else 500
            if 200 <= code < 300:
                continue
            said = (f"{entry['request']['url']}: {status or 'no status'}", issues_of(response.get("outcome")))
            if is_busy(code) and self._message.repeatable:
                again.append(entry)
                self.waiting.append(said)
            else:
                self.refused.append(said)
        if again:
            self._entries = again
            return Reply(status=503, reason="the server was too busy for some of the batch", body=None)
        # What the outcomes of the entries say is counted entry by entry.
        return Reply(status=reply.status, reason=reply.reason, body=None)

    def lost(self) -> Reply | None:
        """What stands for a lost answer: that the server has it, or that nobody knows; None: send it again."""
        if self._message.repeatable:
            return None
        total = None
        if self._message.patient and self._message.kind == "transaction":
            try:
                reply = self._client.send("GET", self._message.patient)
                total = reply.body.get("total") if reply.ok and type(reply.body) is dict else None
            except NoAnswer:
                total = None
        if type(total) is not int:
            return Reply(status=_UNKNOWN, reason="no answer, and nothing tells whether the server has it", body=None)
        return Reply(status=200, reason="the server has it", body=None) if total else None
