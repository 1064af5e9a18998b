"""Learning on Spark: each task reads, encodes and counts its own patients; the driver adds up what comes back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any, TypeVar

from ehrsynth import plugins
from ehrsynth.engines.spark import clear_errors, session
from ehrsynth.errors import EhrsynthError, SourceError
from ehrsynth.learning import LearningProgress, LearningSettings
from ehrsynth.learning.apart import Raw, raw_part
from ehrsynth.learning.far_learner import learn_parts
from ehrsynth.learning.rows import Here, Parts
from ehrsynth.model import PatientModel
from ehrsynth.readers.partition import count_patients, take_part
from ehrsynth.readers.report import ReadReport

__all__ = ["SparkParts", "learn_on_spark"]

T = TypeVar("T")

_PARTS_A_CORE = 2


class SparkParts:
    """Parts that are kept on a cluster, in memory or on its disks; see `ehrsynth.learning.rows.Parts`."""

    def __init__(self, rdd: Any) -> None:
        from pyspark import StorageLevel

        self._rdd = rdd.persist(StorageLevel.MEMORY_AND_DISK)

    def map(self, function: Callable[[Any], Any]) -> SparkParts:
        """Make a part of each part, where it is."""
        return SparkParts(self._rdd.map(partial(_of, function=function)))

    def each(self, function: Callable[[Any], T]) -> Iterator[T]:
        """Yield the function of each part, in order."""
        with clear_errors():
            results = self._rdd.map(partial(_of, function=function)).toLocalIterator(prefetchPartitions=True)
            for result in results:
                if isinstance(result, EhrsynthError):
                    raise result
                if result is not None:
                    yield result

    def total(self, function: Callable[[Any], T]) -> T:
        """Return the sum of the function over the parts, added in their order."""
        result: T = reduce(add, self.each(function))
        return result

    def scatter(self, parts: Sequence[Any]) -> SparkParts:
        """Send parts of the driver to the executors."""
        return SparkParts(self._rdd.context.parallelize(list(parts), max(len(parts), 1)))

    def beside(self, parts: Sequence[Any]) -> Parts[Any]:
        """Keep parts in the driver."""
        return Here(parts)

    def regroup(
        self, split: Callable[[Any], list[tuple[int, Any]]], join: Callable[[list[Any]], Any], n: int
    ) -> SparkParts:
        """Make `n` parts of the pieces of all: each on the executor that it falls to."""
        pieces = self._rdd.flatMap(partial(_pieces, split=split))
        return SparkParts(pieces.groupByKey(n, int).map(partial(_join, join=join)))

    def release(self) -> None:
        """Give up what was kept."""
        self._rdd.unpersist()


def _of(part: Any, function: Callable[[Any], Any]) -> Any:
    # Ours are returned: Spark would wrap them into a page of Java.
    if part is None or isinstance(part, EhrsynthError):
        return part
    try:
        return function(part)
    except EhrsynthError as error:
        return error


def _pieces(part: Any, split: Callable[[Any], list[tuple[int, Any]]]) -> list[tuple[int, Any]]:
    return [] if part is None else split(part)


def _join(group: tuple[int, Iterable[Any]], join: Callable[[list[Any]], Any]) -> Any:
    return join(list(group[1]))


def learn_on_spark(
    source: str | Path,
    *,
    format: str,  # noqa: A002
    strict: bool = True,
    settings: LearningSettings | None = None,
    seed: int = 0,
    master: str | None = None,
    progress: Callable[[LearningProgress], None] | None = None,
    parts: int | None = None,
) -> tuple[PatientModel, ReadReport]:
    """Learn from a folder of Parquet tables (canonical or OMOP) that no single machine reads whole.

    Parameters
    ----------
    source : path or URL
        All executors see it.
    format : str
        Name of the reader.
    strict : bool
    settings, seed, progress
        See `ehrsynth.learning.far_learner.learn_parts`.
    master : str, optional
    parts : int, optional
        Tasks that share the patients; default: two for each core of the cluster.

    Returns
    -------
    PatientModel
    ReadReport
        Of all parts together; row numbers are those within a part.

    Raises
    ------
    SourceError
        What a task met.
    """
    context = session(master).sparkContext
    settings = settings or LearningSettings()
    n = max(1, min(parts or _PARTS_A_CORE * context.defaultParallelism, count_patients(source)))
    read = partial(_read, source=str(source), format=format, strict=strict, of=n, max_visits=settings.max_visits)
    with clear_errors():
        raw = SparkParts(context.parallelize(range(n), n).map(read))
        report = reduce(ReadReport.together, raw.each(_report))
        model = learn_parts(SparkParts(raw._rdd.map(_raw)), settings=settings, seed=seed, progress=progress)
        raw.release()
    return model, report


def _read(
    number: int,
    *,
    source: str,
    format: str,  # noqa: A002
    strict: bool,
    of: int,
    max_visits: int,
) -> tuple[Raw, ReadReport] | EhrsynthError:
    try:
        with tempfile.TemporaryDirectory(prefix="ehrsynth-") as name:
            folder = Path(name) / (source.rstrip("/").rpartition("/")[2] or "source")
            folder.mkdir()
            take_part(source, folder, number, of)
            try:
                records, report = plugins.load("ehrsynth.readers", format)().read(folder, strict=strict)
            except SourceError as error:
                return SourceError(
                    error.message,
                    file=str(error.file or "").replace(str(folder), source.rstrip("/")) or None,
                    table=error.table,
                    row=error.row,
                    column=error.column,
                    hint=f"{error.hint or ''} (The row is counted within part {number + 1} of {of}.)".strip(),
                )
            report.source = source
            return raw_part(records, number, max_visits), report
    except EhrsynthError as error:
        return error


def _raw(pair: tuple[Raw, ReadReport]) -> Raw:
    return pair[0]


def _report(pair: tuple[Raw, ReadReport]) -> ReadReport:
    return pair[1]
