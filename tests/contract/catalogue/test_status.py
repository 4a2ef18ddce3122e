"""What counting the whole catalogue may cost."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from sqlalchemy import Connection, event

from common.catalogue.sql import open_catalogue
from common.model.nodes import NodeHealth
from tests.contract.catalogue.stage import Stage


def test_counting_with_a_node_down_looks_each_version_up_and_goes_through_no_table_for_each(stage: Stage) -> None:
    """Joined to `objects`, which has no index by version, the count of 100,000 objects took a quarter of an hour."""
    stage.see(NodeHealth.UP, NodeHealth.UP, NodeHealth.DOWN)
    stage.put("a", stored=3)
    statements: list[str] = []
    database = stage.catalogue.database

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        assert stage.catalogue.status().objects["degraded"] == 1
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    (classes,) = [statement for statement in statements if "GROUP BY versions.wanted" in statement]
    assert "objects" not in classes


def test_without_counting_objects_again_the_rest_is_of_now(stage: Stage) -> None:
    stage.put("a")
    before = stage.catalogue.status()
    assert (before.objects["replicating"], before.copies_missing) == (1, 2)
    stage.put("b")
    after = stage.catalogue.status(before)
    assert (after.objects, after.counted_at, after.copies_missing) == (before.objects, before.counted_at, 4)
    assert stage.catalogue.status().counted_at > before.counted_at


def test_while_no_node_is_away_only_what_waits_is_looked_at(stage: Stage) -> None:
    """PostgreSQL expects many rows on nodes that a subquery names, and went through all versions: 0.8 s for 100,000."""
    stage.put("a", stored=3)
    stage.put("b")
    database, statements = stage.catalogue.database, list[str]()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        objects = stage.catalogue.status().objects
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    assert (objects["protected"], objects["replicating"]) == (1, 1)
    (classes,) = [statement for statement in statements if "GROUP BY versions.wanted" in statement]
    assert "UNION" not in classes


def test_counting_with_a_node_down_may_take_longer_than_what_a_request_asks(postgres_catalogue_url: str) -> None:
    """27 µs for each object: some 300,000 of them reached the limit of all other statements. SQLite has none."""
    with closing(open_catalogue(postgres_catalogue_url)) as catalogue:
        stage = Stage(catalogue)
        stage.see(NodeHealth.UP, NodeHealth.UP, NodeHealth.DOWN)
        stage.put("a", stored=3)
        limits: list[str] = []

        def note(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
            if "GROUP BY versions.wanted" in statement or "FROM jobs" in statement:
                asked: Any = connection.connection.cursor()
                limits.append(asked.execute("SHOW statement_timeout").fetchone()[0])

        event.listen(catalogue.database.engine, "before_cursor_execute", note)
        assert catalogue.status().objects["degraded"] == 1
    assert limits == ["5min", "10s"]
