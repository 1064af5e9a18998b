"""Places beyond the local disk, by fsspec's URLs (``s3://``, ``gs://``, ``abfss://``...): fetched whole, sent whole.

Everything is read and written as local files; a URL is fetched into a temporary folder before, or sent from one
afterwards. So a format needs no second way to its bytes, and nothing half made is ever sent.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ehrsynth.errors import EhrsynthError, MissingExtraError, OutputError, SourceError

__all__ = ["as_url", "fetched", "local_path", "must_be_empty", "send"]

# Two letters at least: C:\ is a drive. A URL that passed through a Path has lost one of its slashes.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)

# Hadoop's names of what fsspec knows under another one.
_SAME = {"s3a": "s3", "s3n": "s3", "abfss": "abfss", "wasbs": "abfs"}

_LAST = "manifest.json"
"""Sent after everything else at the top of a folder: where it is, all is."""

_STRANGERS = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "google.auth.exceptions": ("GoogleAuthError",),
    "gcsfs.retry": ("HttpError",),
    "azure.core.exceptions": ("AzureError",),
    "aiohttp": ("ClientError",),
    "pyarrow": ("ArrowException",),
}
"""What stores' own libraries raise that is no OSError: asked only of those that are loaded."""


def as_url(place: str | Path) -> str | None:
    """Return `place` as a URL, or None if it is a local path; ``file:`` is local."""
    match = _URL.fullmatch(str(place))
    if match is None or match[1].lower() == "file":
        return None
    return f"{_SAME.get(match[1].lower(), match[1].lower())}://{match[2]}"


def local_path(place: str | Path) -> Path:
    """Return a local path, also of a ``file:`` URL."""
    match = _URL.fullmatch(str(place))
    return Path(place) if match is None else Path("/" + match[2])


@contextmanager
def fetched(place: str | Path) -> Iterator[Path]:
    """Give the local path of a file or folder; what is elsewhere is fetched, and removed when it has been read.

    Raises
    ------
    SourceError
        There is nothing there, or the store does not let us read it.
    MissingExtraError
        The package that knows this kind of store is not installed.
    """
    url = as_url(place)
    if url is None:
        yield local_path(place)
        return
    with tempfile.TemporaryDirectory(prefix="ehrsynth-") as folder:
        yield _fetch(url, Path(folder))


def _fetch(url: str, folder: Path) -> Path:
    with _clear_errors(SourceError, url, "read"):
        system, path = _open(url)
        name = path.rstrip("/").rpartition("/")[2] or "source"
        if system.isfile(path):
            system.get_file(path, str(folder / name))
            return folder / name
        found = system.find(path)
        if not found:
            raise SourceError("There is nothing at this URL.", file=url)
        # One by one: what a recursive get makes of folders differs between stores.
        root = path.strip("/")
        for one in found:
            target = folder / name / one.strip("/").removeprefix(root).strip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(one, str(target))
    return folder / name


def must_be_empty(url: str) -> None:
    """Check that nothing is at `url` and that the store lets us look.

    Raises
    ------
    OutputError
        There is something, or the store does not let us.
    MissingExtraError
        The package that knows this kind of store is not installed.
    """
    with _clear_errors(OutputError, url, "written"):
        system, path = _open(url)
        if system.exists(path) and (system.isfile(path) or system.find(path)):
            raise OutputError("There is something at the output's URL.", file=url, hint="Name another or remove it.")


def send(local: Path, url: str) -> None:
    """Send a file, or a folder with all that is in it, to `url`; a folder's ``manifest.json`` goes last.

    Raises
    ------
    OutputError
        The store does not take it. What was sent before stays there, without a manifest.
    """
    with _clear_errors(OutputError, url, "written"):
        system, path = _open(url)
        if local.is_file():
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.put_file(str(local), path)
            return
        names = sorted(one.relative_to(local).as_posix() for one in local.rglob("*") if one.is_file())
        made: set[str] = set()
        for name in sorted(names, key=lambda name: (name == _LAST, name)):
            target = f"{path.rstrip('/')}/{name}"
            parent = target.rpartition("/")[0]
            if parent not in made:
                system.makedirs(parent, exist_ok=True)
                made.add(parent)
            system.put_file(str(local / name), target)


def _open(url: str) -> tuple[Any, str]:
    import fsspec

    system, path = fsspec.core.url_to_fs(url)
    # Listings of earlier calls would hide what has been written since.
    system.invalidate_cache()
    return system, path


@contextmanager
def _clear_errors(kind: type[EhrsynthError], url: str, done: str) -> Iterator[None]:
    scheme = url.partition("://")[0]
    try:
        yield
    except EhrsynthError:
        raise
    except ImportError as error:
        text = str(error)
        raise MissingExtraError(
            f"{scheme}:// needs a package that is not installed: {text.rstrip('.')}.",
            file=url,
            hint=_package(text),
        ) from None
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise _refused(kind, url, done, error) from None
        raise kind(f"There is no kind of store {scheme}://.", file=url, hint="s3, gs, abfss, hdfs, sftp...") from None
    except FileNotFoundError:
        raise kind("There is nothing at this URL.", file=url, hint="Is the bucket's name right?") from None
    except (OSError, RuntimeError) as error:
        raise _refused(kind, url, done, error) from None
    except _strangers() as error:
        raise _refused(kind, url, done, error) from None


def _refused(kind: type[EhrsynthError], url: str, done: str, error: BaseException) -> EhrsynthError:
    text = " ".join(str(error).split()) or type(error).__name__
    return kind(
        f"The store does not let it be {done}: {text.rstrip('.')}.",
        file=url,
        hint="Are credentials set (s3: AWS_PROFILE or AWS_ACCESS_KEY_ID, gs: GOOGLE_APPLICATION_CREDENTIALS, "
        "abfss: AZURE_STORAGE_ACCOUNT_NAME and _KEY), and do they allow it?",
    )


def _package(text: str) -> str:
    """Return what to install, from what fsspec says of it (``Install s3fs to access S3``)."""
    match = re.search(r"[Ii]nstall (?:the )?[`\"']?([A-Za-z0-9_-]+)", text)
    return f"Run pip install {match[1]}." if match else "Install it with pip."


def _strangers() -> tuple[type[Exception], ...]:
    """Return the error types of the stores' libraries that are loaded."""
    found = [
        getattr(sys.modules[module], name, None)
        for module, names in _STRANGERS.items()
        if module in sys.modules
        for name in names
    ]
    return tuple(kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception))
