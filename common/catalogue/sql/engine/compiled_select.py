"""A SELECT that every request asks: on SQLite compiled once and run on the driver's own connection.

SQLAlchemy's way from a compiled statement to rows costs more than what SQLite does for them; PostgreSQL, over a socket,
is left to it. Rows have the columns' labels either way. What SQLite gives is taken as it is, but for JSON: there are no
columns here of types that need more.

SQLAlchemy learns nothing of it: in a transaction that is to be committed, something else has to write.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, Connection, Select
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError

Decoders = Sequence[tuple[int, Callable[[Any], Any]]]


class CompiledSelect:
    """Safe across threads. Parameters are named as in the statement; it has no others."""

    def __init__(self, statement: Select[Any]) -> None:
        self._statement = statement
        self._row: Any = namedtuple("PlainRow", statement.selected_columns.keys())  # type: ignore[misc]
        self._compiled: tuple[str, Sequence[str], Decoders] | None = None

    def all(self, connection: Connection, parameters: Mapping[str, str | int]) -> Sequence[Any]:
        """Errors as `Connection.execute` has them."""
        dialect = connection.dialect
        if dialect.name != "sqlite":
            return connection.execute(self._statement, parameters).all()
        text, order, decoders = self._compiled or self._compile(dialect)
        cursor: Any = connection.connection.cursor()
        arguments = [parameters[name] for name in order]
        for listener in connection.dispatch.before_cursor_execute:  # whoever watches statements sees this one too
            listener(connection, cursor, text, arguments, None, False)
        try:
            cursor.execute(text, arguments)
            found = cursor.fetchall()
        except dialect.loaded_dbapi.Error as error:
            raise DBAPIError.instance(text, None, error, dialect.loaded_dbapi.Error, True) from error
        if decoders:
            found = [_decoded(row, decoders) for row in found]
        return [self._row._make(row) for row in found]

    def _compile(self, dialect: Dialect) -> tuple[str, Sequence[str], Decoders]:
        compiled = self._statement.compile(dialect=dialect)
        decoders = []
        for index, column in enumerate(self._statement.selected_columns):
            if isinstance(column.type, JSON):
                decode = column.type.dialect_impl(dialect).result_processor(dialect, None)
                if decode is not None:
                    decoders.append((index, decode))
        self._compiled = str(compiled), compiled.positiontup or (), decoders
        return self._compiled


def _decoded(row: Sequence[Any], decoders: Decoders) -> Sequence[Any]:
    values = list(row)
    for index, decode in decoders:
        values[index] = decode(values[index])
    return values
