"""The Spark engine: shards mapped over a cluster, and the sums of learning reduced over its partitions.

Every executor needs this package. A shard goes where it belongs in one of three ways. A path (also of a mount, as
``/dbfs/...`` or ``/Volumes/...``) is written to directly: all executors must see it. To a URL that fsspec knows and has
the package for (``s3``, ``gs``, ``abfss``) each executor sends. Any other URL (``hdfs``, or without its package) is
written to through Hadoop's file systems, which are at hand in the driver's Java only: shards are made on the
cluster, and their bytes pass through the driver.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from itertools import chain, groupby
from operator import add
from pathlib import Path
from typing import Any, TypeVar

from ehrsynth import storage
from ehrsynth.engines.blocks import Job, Shard
from ehrsynth.engines.local import RunSummary
from ehrsynth.engines.shards import make_shard
from ehrsynth.errors import EhrsynthError, MissingExtraError, OutputError

__all__ = ["Hadoop", "clear_errors", "run_on_spark", "session", "spread", "store_of"]

T = TypeVar("T")
C = TypeVar("C")

_CHUNK_BYTES = 8 << 20
# fsspec reaches these only with Hadoop's native library, which pip does not bring.
_HADOOP = ("hdfs", "webhdfs", "viewfs")


def session(master: str | None = None) -> Any:
    """Return the Spark session that is active (a notebook's, ``spark-submit``'s), or a new one.

    Parameters
    ----------
    master : str, optional
        ``local[4]``, ``spark://host:7077``, ``yarn``, ``k8s://...``; default: what the environment says, else the
        cores of this machine.

    Raises
    ------
    MissingExtraError
        There is no pyspark, or no Java.
    EhrsynthError
        Spark does not start.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise MissingExtraError(
            "The Spark engine needs pyspark, which is not installed.", hint="Run pip install 'ehrsynth[spark]'."
        ) from None
    active = SparkSession.getActiveSession()
    if active is not None and master is None:
        return active
    _check_java()
    builder = SparkSession.builder.appName("ehrsynth")
    # spark-submit has opened the way to its Java, and said there which master it is.
    if master is not None or "PYSPARK_GATEWAY_PORT" not in os.environ:
        master = master or os.environ.get("SPARK_MASTER") or "local[*]"
        builder = builder.master(master)
    if (master or "").startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = builder.config("spark.ui.enabled", "false").config("spark.driver.host", "localhost")
    with clear_errors():
        spark = builder.getOrCreate()
        spark.sparkContext.setLogLevel("ERROR")
    return spark


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and not (home and shutil.which("java", path=str(Path(home) / "bin"))):
        raise MissingExtraError(
            "Spark needs Java 17 or 21, and there is none.",
            hint="Install it (Debian, Ubuntu: openjdk-17-jre-headless; conda: openjdk=17), or set JAVA_HOME.",
        )


def run_on_spark(job: Job, shards: Sequence[Shard], place: str, *, master: str | None = None) -> Iterator[RunSummary]:
    """Make `shards` on a cluster and yield their summaries in order; for `generate_shards`.

    Raises
    ------
    EhrsynthError
        What a task met, or that Spark broke down.
    """
    context = session(master).sparkContext
    shared_job = context.broadcast(job)
    url = storage.as_url(place)
    tasks = context.parallelize(list(shards), len(shards))
    with clear_errors():
        if url is None or _is_known(url):
            results = tasks.map(partial(_made, job=shared_job, place=place)).collect()
            yield from map(_or_raise, results)
            return
        from pyspark import StorageLevel

        # Kept on the executors' disks: handing them over one by one must not make them one by one.
        chunks = tasks.flatMap(partial(_chunks, job=shared_job))
        chunks = chunks.persist(StorageLevel.DISK_ONLY)
        chunks.count()
        yield from Hadoop(context).receive(chunks.toLocalIterator(), place)
        chunks.unpersist()


def _is_known(url: str) -> bool:
    import fsspec

    scheme = url.partition("://")[0]
    if scheme in _HADOOP:
        return False
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError):
        return False
    return True


def _made(shard: Shard, *, job: Any, place: str) -> RunSummary | EhrsynthError:
    # Ours are returned: Spark would wrap them into a page of Java.
    try:
        return make_shard(shard, job=job.value, place=place)
    except EhrsynthError as error:
        return error


def _or_raise(result: RunSummary | EhrsynthError) -> RunSummary:
    if isinstance(result, EhrsynthError):
        raise result
    return result


Chunk = tuple[str, bytes | RunSummary | EhrsynthError]
"""A name under the output with bytes that come next in it, or what was made when a shard ends."""


def _chunks(shard: Shard, *, job: Any) -> Iterator[Chunk]:
    with tempfile.TemporaryDirectory(prefix="ehrsynth-") as name:
        made = _made(shard, job=job, place=name)
        if isinstance(made, RunSummary):
            # The manifest comes last, as everywhere.
            for path in sorted(
                (one for one in Path(name).rglob("*") if one.is_file()),
                key=lambda one: (one.name == "manifest.json", one),
            ):
                with path.open("rb") as handle:
                    while data := handle.read(_CHUNK_BYTES):
                        yield path.relative_to(name).as_posix(), data
        yield shard.name, made


class Hadoop:
    """Hadoop's file systems, through the driver's Java."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._fs = context._jvm.org.apache.hadoop.fs

    def must_be_empty(self, url: str) -> None:
        """Raise OutputError if something is at `url`."""
        with clear_errors():
            system, path = self._open(url)
            if system.exists(path) and len(system.listStatus(path)):
                raise OutputError(
                    "There is something at the output's URL.", file=url, hint="Name another or remove it."
                )

    def send(self, local: Path, url: str) -> None:
        """Send a file to `url`."""
        with clear_errors():
            self._write(url, [local.read_bytes()])

    def receive(self, chunks: Iterable[Chunk], place: str) -> Iterator[RunSummary]:
        """Write what comes in `chunks` under the URL `place`; yield the shards that are whole."""
        for name, some in groupby(chunks, key=lambda chunk: chunk[0]):
            first = next(some)[1]
            if isinstance(first, bytes):
                rest = (item for _, item in some if isinstance(item, bytes))
                self._write(f"{place.rstrip('/')}/{name}", chain([first], rest))
            else:
                yield _or_raise(first)

    def _open(self, url: str) -> tuple[Any, Any]:
        path = self._fs.Path(url)
        return path.getFileSystem(self._context._jsc.hadoopConfiguration()), path

    def _write(self, url: str, data: Iterable[bytes]) -> None:
        system, path = self._open(url)
        stream = system.create(path, True)
        try:
            for some in data:
                stream.write(bytearray(some))
        finally:
            stream.close()


def store_of(place: str | Path, master: str | None = None) -> Hadoop | None:
    """Return Hadoop's way to `place` if it is the one that is taken; None: `ehrsynth.storage`."""
    url = storage.as_url(place)
    return None if url is None or _is_known(url) else Hadoop(session(master).sparkContext)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what Spark and its Java raise into one sentence of ours."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        java = getattr(error, "java_exception", None)
        text = str(java.toString()) if java is not None else str(error)
        first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
        if "FileSystem" in first or "AccessControl" in first or "Credential" in first:
            raise OutputError(
                f"Spark cannot write there: {first}.",
                hint="Are the store's package and credentials in Spark's settings?",
            ) from None
        raise EhrsynthError(f"Spark failed: {first}.", hint="Its log says more.") from None


@contextmanager
def spread(parts: Sequence[C], master: str | None = None) -> Iterator[Callable[[Callable[[C], T]], T]]:
    """Keep `parts` on a cluster; give what maps them there and adds up the results, in their order.

    The sum is the same as in one process, to the last digit: for `ehrsynth.learning.learn`.

    Parameters
    ----------
    parts : sequence
        Chunks of patients.
    """
    context = session(master).sparkContext
    kept = context.parallelize(list(parts), max(len(parts), 1)).cache()

    def total(function: Callable[[C], T]) -> T:
        with clear_errors():
            results: Iterator[T] = kept.map(function).toLocalIterator(prefetchPartitions=True)
            return reduce(add, results)

    try:
        yield total
    finally:
        kept.unpersist()
