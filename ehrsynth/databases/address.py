"""Where a database is, from its URL; what may be shown of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from ehrsynth.errors import UsageError

__all__ = ["SCHEMES", "Address", "address"]

SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "duckdb": "duckdb", "sqlite": "sqlite"}
_SECRET = ("password", "sslpassword", "passfile", "sslkey")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A database: its kind (postgresql, duckdb or sqlite), its file or its URL, and the URL as it may be shown.

    The URL is neither in the representation nor in any message: a password may stand in it.
    """

    kind: str
    shown: str
    path: Path | None = None
    url: str = field(default="", repr=False)


def address(url: str) -> Address:
    """Return the address that a URL names.

    ``postgresql://user@host:5432/database``, ``duckdb:///relative.duckdb``, ``sqlite:////absolute/file.sqlite``.

    Raises
    ------
    UsageError
        The URL names no database that is known.
    """
    scheme = url.partition(":")[0].lower()
    if scheme not in SCHEMES or "://" not in url:
        raise UsageError(
            "--to names no database that is known.",
            hint="One of postgresql://user@host/database, duckdb:///file.duckdb, sqlite:///file.sqlite.",
        )
    kind = SCHEMES[scheme]
    if kind == "postgresql":
        # libpq takes the first @ for the end of the password, and would tell the rest of it as the host's name.
        if url.partition("://")[2].partition("/")[0].count("@") > 1:
            raise UsageError(
                "The user or the password of the URL holds an @ that is not written as %40.",
                hint="Write reserved characters percent-encoded, or leave the password out and set PGPASSWORD.",
            )
        return Address(kind=kind, shown=_shown(url), url="postgresql" + url[len(scheme) :])
    name = unquote(url.partition("://")[2].partition("?")[0])
    if not name.startswith("/") or not name.strip("/"):
        raise UsageError(
            f"{url} names no file.", hint=f"Three slashes and the file: {kind}:///out/records.{kind}; four if absolute."
        )
    return Address(kind=kind, shown=f"{kind}://{name}", path=Path(name[1:]))


def _shown(url: str) -> str:
    try:
        parts = urlsplit(url)
        user, host = parts.username, parts.netloc.rpartition("@")[2]
    except ValueError:
        return "postgresql://..."
    who = f"{quote(user)}@" if user else ""
    query = urlencode([(name, "***" if name in _SECRET else value) for name, value in parse_qsl(parts.query)])
    return urlunsplit(("postgresql", f"{who}{host}", parts.path, query, ""))
