"""The schema as SQL: tables with their constraints, keys, indexes, and what they mean.

What Table Schema states (keys, required, unique, enumerations, patterns, ranges) becomes a constraint. The rules of
time (order, lives, encounters) do not: real records break them, and a database that takes no such row is of no use to
those who look for them; `ehrsynth validate` finds them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ehrsynth.databases.dialect import Dialect, quoted, text
from ehrsynth.schema import Column, DatasetSchema, TableSchema

__all__ = ["HINT", "KINDS", "comments", "create_table", "indexes", "keys", "metadata_table", "script"]

METADATA = "ehrsynth_metadata"
KINDS = ("primary", "unique", "foreign")
HINT = "`ehrsynth validate` on the source names every row that breaks a rule."
"""What to do about rows that a database refuses."""


def create_table(table: TableSchema, dialect: Dialect, *, without: Collection[str] = ()) -> str:
    """Return the statement that makes `table`.

    Parameters
    ----------
    without : collection of str
        Kinds of keys (`KINDS`) to leave out: the table loads faster, and they are to be added (`keys`).
    """
    lines = [_column(column, table, dialect) for column in table.columns]
    lines += [f"CONSTRAINT {quoted(name)} {what}" for kind, name, what in _keys(table) if kind not in without]
    lines += [f"CONSTRAINT {quoted(name)} CHECK ({what})" for name, what in _checks(table, dialect)]
    body = ",\n  ".join(lines)
    return f"CREATE TABLE {quoted(table.name)} (\n  {body}\n)"


def keys(table: TableSchema, kinds: Collection[str] = KINDS) -> Iterator[str]:
    """Yield the statements that add keys to a table that was made without: the foreign ones last."""
    for kind, name, what in _keys(table):
        if kind in kinds:
            yield f"ALTER TABLE {quoted(table.name)} ADD CONSTRAINT {quoted(name)} {what}"


def indexes(table: TableSchema, dialect: Dialect) -> Iterator[str]:
    """Yield the statements that make the indexes: of foreign keys, and of codes."""
    columns = [(key.column,) for key in table.foreign_keys] if dialect.foreign_key_indexes else []
    if "code" in table:
        columns.append(("code",))
    for names in columns:
        listed = ", ".join(quoted(name) for name in names)
        yield f"CREATE INDEX {quoted('ix_' + '_'.join((table.name, *names)))} ON {quoted(table.name)} ({listed})"


def comments(table: TableSchema, dialect: Dialect) -> Iterator[str]:
    """Yield the statements that say what tables and columns mean."""
    if not dialect.comments:
        return
    if table.description:
        yield f"COMMENT ON TABLE {quoted(table.name)} IS {text(table.description)}"
    for column in table.columns:
        meaning = column.description + (" (UTC)" if column.type == "datetime" else "")
        yield f"COMMENT ON COLUMN {quoted(table.name)}.{quoted(column.name)} IS {text(meaning)}"


def metadata_table(dialect: Dialect) -> str:
    """Return the statement that makes the table of what the records are."""
    key, string = dialect.types["key"], dialect.types["string"]
    return (
        f'CREATE TABLE {quoted(METADATA)} (\n  "name" {key} NOT NULL,\n  "value" {string},\n'
        f'  CONSTRAINT {quoted("pk_" + METADATA)} PRIMARY KEY ("name")\n)'
    )


def script(schema: DatasetSchema, dialect: Dialect) -> str:
    """Return the whole schema as a script: tables in an order in which referenced ones come first, then indexes."""
    said = f"-- The canonical tables of ehrsynth {schema.version} in {dialect.title}. Times are UTC."
    made = [create_table(table, dialect) for table in schema.tables]
    made += [statement for table in schema.tables for statement in indexes(table, dialect)]
    made += [statement for table in schema.tables for statement in comments(table, dialect)]
    return "\n\n".join([said, *(f"{statement};" for statement in made)]) + "\n"


def _column(column: Column, table: TableSchema, dialect: Dialect) -> str:
    is_key = column.name == table.primary_key or any(key.column == column.name for key in table.foreign_keys)
    short = column.type == "string" and (is_key or column.unique or column.enum or column.name == "code")
    kind = dialect.types["key" if short else column.type]
    return f"{quoted(column.name)} {kind}{' NOT NULL' if column.required else ''}"


def _keys(table: TableSchema) -> Iterator[tuple[str, str, str]]:
    if table.primary_key:
        yield "primary", f"pk_{table.name}", f"PRIMARY KEY ({quoted(table.primary_key)})"
    for column in table.columns:
        if column.unique and column.name != table.primary_key:
            yield "unique", f"uq_{table.name}_{column.name}", f"UNIQUE ({quoted(column.name)})"
    for key in table.foreign_keys:
        target = f"{quoted(key.reference_table)} ({quoted(key.reference_column)})"
        yield "foreign", f"fk_{table.name}_{key.column}", f"FOREIGN KEY ({quoted(key.column)}) REFERENCES {target}"


def _checks(table: TableSchema, dialect: Dialect) -> Iterator[tuple[str, str]]:
    for column in table.columns:
        name, base = quoted(column.name), f"ck_{table.name}_{column.name}"
        if column.type in dialect.type_checks:
            yield f"{base}_type", dialect.type_checks[column.type].format(column=name)
        if column.enum:
            values = [text(value) for value in column.enum]
            either = " OR ".join(f"{name} = {value}" for value in values)
            yield f"{base}_enum", f"{name} IN ({', '.join(values)})" if dialect.in_lists else either
        if column.pattern and dialect.pattern:
            # Patterns of Table Schema are matched from start to end; in SQL the anchors say so.
            anchored = f"^(?:{column.pattern})$"
            yield f"{base}_pattern", dialect.pattern.format(column=name, pattern=text(anchored))
        for word, limit, sign in (("minimum", column.minimum, ">="), ("maximum", column.maximum, "<=")):
            if limit is not None:
                yield f"{base}_{word}", f"{name} {sign} {limit:g}"
