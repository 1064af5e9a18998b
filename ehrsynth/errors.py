"""The errors ehrsynth raises for its users, and the exit code of each.

::

    EhrsynthError                  1   anything of ours
    ├── UsageError                 2   an option or argument that cannot be (also what the command line parser gives)
    ├── SourceError                3   the input records: a folder, file, table, row or column that is wrong
    ├── ModelError                 4   a model package: truncated, of a newer format, not ours, not trustworthy
    ├── LearningError              5   records that are sound but from which nothing can be learned
    ├── OutputError                6   the place to write to: exists and is not empty, disk full, not writable
    ├── FindingsError              7   `validate` found something at or above `--fail-on`
    ├── ResourceError              8   packaged data that is missing or was altered: a broken installation
    └── MissingExtraError          9   an optional dependency is needed and not installed

An interrupted command (Ctrl-C) exits with 130, as shells expect.
"""

from __future__ import annotations

__all__ = [
    "EhrsynthError",
    "FindingsError",
    "LearningError",
    "MissingExtraError",
    "ModelError",
    "OutputError",
    "ResourceError",
    "SourceError",
    "UsageError",
    "exit_code",
]


class EhrsynthError(Exception):
    """What went wrong, where, and what to do about it.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence.
    file, table, row, column : optional
        Where: `row` counts data rows from 1 (the header is not a row), `column` is the source's own name.
    hint : str, optional
        What the user can do.
    """

    def __init__(
        self,
        message: str,
        *,
        file: object = None,
        table: str | None = None,
        row: int | None = None,
        column: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = None if file is None else str(file)
        self.table = table
        self.row = row
        self.column = column
        self.hint = hint

    @property
    def place(self) -> str:
        """The known parts of where, as ``file F, table T, row R, column C``; empty if none is known."""
        parts = [("file", self.file), ("table", self.table), ("row", self.row), ("column", self.column)]
        return ", ".join(f"{name} {value}" for name, value in parts if value is not None)

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text} {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (workers); keyword-only arguments do not survive the default protocol.
        return (_rebuild, (type(self), self.message, self.file, self.table, self.row, self.column, self.hint))


def _rebuild(
    kind: type[EhrsynthError],
    message: str,
    file: str | None,
    table: str | None,
    row: int | None,
    column: str | None,
    hint: str | None,
) -> EhrsynthError:
    return kind(message, file=file, table=table, row=row, column=column, hint=hint)


class UsageError(EhrsynthError):
    """An option or argument that cannot be."""


class SourceError(EhrsynthError):
    """The input records are wrong: a folder, file, table, row or column."""


class ModelError(EhrsynthError):
    """A model package cannot be used: truncated, of a newer format, not ours, or not trustworthy."""


class LearningError(EhrsynthError):
    """Sound records from which nothing can be learned."""


class OutputError(EhrsynthError):
    """The output cannot be written there."""


class FindingsError(EhrsynthError):
    """Validation found something at or above the asked severity."""


class ResourceError(EhrsynthError):
    """Packaged data is missing or altered."""


class MissingExtraError(EhrsynthError):
    """An optional dependency is needed and not installed."""


def exit_code(error: BaseException) -> int:
    """Return the process exit code for `error` (see the tree in the module's docstring)."""
    match error:
        case UsageError():
            return 2
        case SourceError():
            return 3
        case ModelError():
            return 4
        case LearningError():
            return 5
        case OutputError():
            return 6
        case FindingsError():
            return 7
        case ResourceError():
            return 8
        case MissingExtraError():
            return 9
        case KeyboardInterrupt():
            return 130
        case _:
            return 1
