"""Where a database is, from its URL, to be read or to be filled; what may be shown of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from ehrsynth.errors import EhrsynthError, UsageError

__all__ = ["SCHEMES", "Address", "address", "is_address"]

SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "duckdb": "duckdb", "sqlite": "sqlite"}
_SECRET = ("password", "sslpassword", "passfile", "sslkey")
_HINT = "One of postgresql://user@host/database, duckdb:///file.duckdb, sqlite:///file.sqlite."


@dataclass(frozen=True, kw_only=True)
class Address:
    """A database: its kind, its file or how to connect to it, and the URL as it may be shown, which is its text.

    What may hold a password is neither in the representation nor in any message.

    Attributes
    ----------
    kind : str
        postgresql, duckdb or sqlite.
    shown : str
    path : Path, optional
        Of duckdb and sqlite.
    url : str
        Of postgresql, as libpq takes it.
    connection : mapping of str to str
        Of postgresql: host, port, user, password, dbname and the options of the URL.
    schemas : tuple of str
        Those to read; the option ``schema`` of the URL, comma separated.
    """

    kind: str
    shown: str
    path: Path | None = None
    url: str = field(default="", repr=False)
    connection: Mapping[str, str] = field(default_factory=dict, repr=False)
    schemas: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.shown

    @property
    def name(self) -> str:
        """Name of the database for people: the file's, or the database's."""
        return self.path.stem if self.path else str(self.connection.get("dbname", self.kind))

    def conceal(self, message: object) -> str:
        """Return a driver's message in one line and without the password, should it be in it."""
        text = " ".join(str(message).split())
        password = self.connection.get("password")
        return text.replace(password, "***") if password else text


def is_address(source: object) -> bool:
    """Whether a source is the URL of a database: ``sqlite:/``, ``duckdb:/`` or ``postgresql:/``."""
    return isinstance(source, str) and source.partition(":/")[0].lower() in SCHEMES and ":/" in source


def address(url: str, *, refusal: type[EhrsynthError] = UsageError) -> Address:
    """Return the address that a URL names.

    ``postgresql://user@host:5432/database?schema=name``, ``duckdb:///relative.duckdb``, ``sqlite:////absolute.sqlite``.

    Parameters
    ----------
    refusal : type of error
        What is raised if the URL names no database that is known.

    Raises
    ------
    UsageError
        Or what `refusal` says.
    """
    scheme = url.partition(":")[0].lower()
    if scheme not in SCHEMES or "://" not in url:
        raise refusal("It names no database that is known.", hint=_HINT)
    kind = SCHEMES[scheme]
    if kind != "postgresql":
        place, _, query = url.partition("://")[2].partition("?")
        name = unquote(place)
        if not name.startswith("/") or not name.strip("/"):
            raise refusal(
                f"{url} names no file.",
                hint=f"Three slashes and the file: {kind}:///out/records.{kind}; four if absolute.",
            )
        schemas = dict(parse_qsl(query)).get("schema", "")
        return Address(kind=kind, shown=f"{kind}://{name}", path=Path(name[1:]), schemas=_listed(schemas))
    # libpq takes the first @ for the end of the password, and would tell the rest of it as the host's name.
    place, slash, rest = url.partition("://")[2].partition("/")
    if place.count("@") > 1 or "@" in rest.partition("?")[0]:
        raise refusal(
            "The user or the password of the URL holds an @ or / that is not written as %40 or %2F.",
            hint="Write reserved characters percent-encoded, or leave the password out and set PGPASSWORD.",
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # What is wrong would be told with the password in it.
        raise refusal("The URL of the database cannot be read.", hint=_HINT) from None
    options = dict(parse_qsl(parts.query))
    schemas = options.pop("schema", "")
    named = {
        "host": unquote(parts.hostname or ""),
        "port": str(port or ""),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "dbname": unquote(parts.path.lstrip("/")),
    }
    who = f"{quote(parts.username)}@" if parts.username else ""
    query = urlencode({key: "***" if key in _SECRET else value for key, value in options.items()}, safe="*")
    return Address(
        kind=kind,
        shown=urlunsplit(("postgresql", who + parts.netloc.rpartition("@")[2], parts.path, query, "")),
        url=f"postgresql://{place}{slash}{rest}",
        connection=options | {key: value for key, value in named.items() if value},
        schemas=_listed(schemas),
    )


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name for name in names.split(",") if name)
