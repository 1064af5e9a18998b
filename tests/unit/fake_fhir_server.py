"""A FHIR server of a few lines on 127.0.0.1: it keeps what it is sent, and fails as it is told."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["DROP", "HANG", "FakeServer", "outcome"]

DROP, HANG = "drop", "hang"
"""Do what is asked and close the connection without an answer; do it and never answer."""


def outcome(text: str, code: str = "processing", severity: str = "error") -> dict[str, Any]:
    """Return an OperationOutcome."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": severity, "code": code, "diagnostics": text}],
    }


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was killed, is no news."""


class FakeServer:
    """Serves until closed; use it as a context.

    Attributes
    ----------
    store : dict
        Resources by ``Type/id``.
    posts : list
        The Bundles that were posted, in order.
    tokens : set
        Every Authorization header that came.
    answer : callable, optional
        From (number of the POST from 0, Bundle) to None (do what is asked), `DROP`, `HANG`, or (status, headers, body)
        to answer with instead.
    entry_answer : callable, optional
        From an entry of a batch to None, or (status, body) to answer with instead.
    metadata : tuple
        Status and body of the capability statement.
    """

    def __init__(self) -> None:
        self.store: dict[str, dict[str, Any]] = {}
        self.posts: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.answer: Callable[[int, dict[str, Any]], Any] = lambda number, bundle: None
        self.entry_answer: Callable[[dict[str, Any]], Any] = lambda entry: None
        self.metadata: tuple[int, Any] = (200, {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"})
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/fhir"

    def note(self, bundle: dict[str, Any]) -> int:
        """Keep a Bundle that was posted; return its number."""
        with self._lock:
            self.posts.append(bundle)
            return len(self.posts) - 1

    def apply(self, bundle: dict[str, Any]) -> dict[str, Any]:
        """Do what a transaction or batch asks."""
        with self._lock:
            entries = [self._apply(entry, bundle["type"]) for entry in bundle["entry"]]
        return {"resourceType": "Bundle", "type": f"{bundle['type']}-response", "entry": entries}

    def _apply(self, entry: dict[str, Any], kind: str) -> dict[str, Any]:
        told = self.entry_answer(entry) if kind == "batch" else None
        if told is not None:
            return {"response": {"status": told[0], "outcome": told[1]}}
        resource, request = dict(entry["resource"]), entry["request"]
        if request["method"] == "PUT":
            new = request["url"] not in self.store
            self.store[request["url"]] = resource
            return {"response": {"status": "201 Created" if new else "200 OK"}}
        if "ifNoneExist" in request and self.find(resource["resourceType"], request["ifNoneExist"]):
            return {"response": {"status": "200 OK"}}
        resource["id"] = str(uuid.uuid4())
        self.store[f"{resource['resourceType']}/{resource['id']}"] = resource
        return {"response": {"status": "201 Created"}}

    def find(self, kind: str, query: str) -> list[dict[str, Any]]:
        """Search by identifier."""
        system, _, value = parse_qs(query)["identifier"][0].partition("|")
        wanted = {"system": system, "value": value}
        return [
            resource
            for resource in list(self.store.values())
            if resource["resourceType"] == kind
            and any(wanted.items() <= identifier.items() for identifier in resource.get("identifier", ()))
        ]


def _handler(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: object) -> None:
            pass

        def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            server.tokens.add(self.headers["Authorization"])
            parts = urlsplit(self.path)
            if parts.path == "/fhir/metadata":
                self.reply(*server.metadata)
                return
            found = server.find(parts.path.rpartition("/")[2], parts.query)
            self.reply(200, {"resourceType": "Bundle", "type": "searchset", "total": len(found)})

        def do_POST(self) -> None:
            server.tokens.add(self.headers["Authorization"])
            bundle = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told = server.answer(server.note(bundle), bundle)
            if type(told) is tuple:
                self.reply(told[0], told[2], told[1])
                return
            done = server.apply(bundle)
            if told == HANG:
                server.over.wait(30)
            if told in (DROP, HANG):
                self.close_connection = True
                return
            self.reply(200, done)

    return Handler
