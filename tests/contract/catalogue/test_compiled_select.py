"""What is run past SQLAlchemy gives what SQLAlchemy gives, is seen by whoever watches, and fails as it does."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, bindparam, event, select, text
from sqlalchemy.exc import DBAPIError

from common.catalogue.sql.engine.compiled_select import CompiledSelect
from common.catalogue.sql.engine.tables import versions
from tests.contract.catalogue.stage import Stage

_SELECT = select(versions).where(versions.c.key == bindparam("key")).order_by(versions.c.id)
_PLAIN = CompiledSelect(_SELECT)
_NOWHERE = CompiledSelect(select(text("nothing")).select_from(text("nowhere")).where(text("nothing = :secret")))


def test_rows_are_those_of_sqlalchemy_by_name_and_place(stage: Stage) -> None:
    stage.put("a")
    stage.put("a")
    stage.put("b")

    def both(connection: Connection) -> None:
        expected = connection.execute(_SELECT, {"key": "a"}).all()
        rows = _PLAIN.all(connection, {"key": "a"})
        assert [tuple(row) for row in rows] == [tuple(row) for row in expected]
        assert [row._asdict() for row in rows] == [dict(row._mapping) for row in expected]
        assert len(rows) == 2
        assert _PLAIN.all(connection, {"key": "c"}) == []

    stage.catalogue.database.read(both)


def test_whoever_watches_statements_sees_it(stage: Stage) -> None:
    engine = stage.catalogue.database.engine
    seen: list[tuple[str, object]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        stage.catalogue.database.read(lambda connection: _PLAIN.all(connection, {"key": "a"}))
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(seen) == 1
    assert seen[0][0].startswith("SELECT versions.id")


def test_its_errors_are_sqlalchemys_and_tell_no_parameters(stage: Stage) -> None:
    def work(connection: Connection) -> object:
        with pytest.raises(DBAPIError, match="nowhere") as caught:
            _NOWHERE.all(connection, {"secret": "a name"})
        return caught.value

    error = stage.catalogue.database.read(work)
    assert "a name" not in str(error)
