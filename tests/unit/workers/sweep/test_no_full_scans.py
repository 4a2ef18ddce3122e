"""What is done all the time looks rows up: nothing of it goes through a table that has a row for each object.

SQLite keeps no statistics here, so its plans are the same over a few rows as over millions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from common.catalogue.sql.engine import rows
from common.model.names import new_id
from common.model.nodes import NodeHealth, NodeMode
from common.model.versions import Preconditions
from tests.unit.workers.rig import BUCKET, Rig

# Partial indexes have only the rows that wait, or are doomed, or under way.
_SCAN = re.compile(
    r"SCAN (?:versions|blobs|copies|objects)\b"
    r"(?! USING (?:COVERING )?INDEX ix_(?:copies_(?:waiting|leased|dead)|versions_(?:uploading|doomed)))"
)


@contextmanager
def scans_in(rig: Rig) -> Iterator[list[str]]:
    """Statements with the steps of their plans that go through a whole table."""
    found: list[str] = []

    def explain(
        connection: Any, _cursor: object, statement: str, parameters: Any, _context: object, many: bool
    ) -> None:
        if not statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            return
        cursor = connection.connection.cursor()
        plan = cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters[0] if many else parameters).fetchall()
        found.extend(f"{step[3]}: {statement}" for step in plan if _SCAN.match(step[3]))

    engine = rig.catalogue.database.engine
    event.listen(engine, "before_cursor_execute", explain)
    yield found
    event.remove(engine, "before_cursor_execute", explain)


def test_the_guard_sees_a_scan(rig: Rig) -> None:
    with scans_in(rig) as found, rig.catalogue.database.engine.connect() as connection:
        connection.exec_driver_sql("SELECT id FROM copies ORDER BY id LIMIT 1")
    assert len(found) == 1


def list_page(rig: Rig) -> None:
    rig.catalogue.objects.list(BUCKET, "", "", "a", 1000)


def states_of_a_page(rig: Rig) -> None:
    """With as many versions as a page may have: which plan is chosen depends on their number."""
    with rig.catalogue.database.engine.connect() as connection:
        connection.execute(rows.per_version([new_id() for _ in range(1000)]))


def list_folded(rig: Rig) -> None:
    rig.catalogue.objects.list(BUCKET, "a", "/", "", 1000)


def find(rig: Rig) -> None:
    rig.catalogue.objects.find(BUCKET, "a")
    rig.catalogue.objects.copies(BUCKET, "a")


def status(rig: Rig) -> None:
    rig.catalogue.status()


def totals(rig: Rig) -> None:
    """What `/v1/nodes` and a bucket's document ask for."""
    rig.catalogue.nodes.totals()
    rig.catalogue.topology.empty()
    rig.catalogue.buckets.totals(rig.bucket.id)
    rig.catalogue.fold_totals()


def upload_and_delete(rig: Rig) -> None:
    rig.put("a")
    rig.put("b")
    rig.catalogue.objects.delete(BUCKET, "b", Preconditions())


def sweep(rig: Rig) -> None:
    """With something to do in most of its steps: missing copies, a replaced version, a lease that ended."""
    rig.put("c")
    rig.put("a")
    rig.converge(4)


def sweep_at_rest(rig: Rig) -> None:
    rig.worker.sweep()


def sweep_without_a_node(rig: Rig) -> None:
    rig.change(2, NodeHealth.DOWN)
    rig.converge(3)
    rig.change(1, mode=NodeMode.DRAINING)
    rig.converge(3)


@pytest.mark.parametrize(
    "act",
    [
        list_page,
        states_of_a_page,
        list_folded,
        find,
        status,
        totals,
        upload_and_delete,
        sweep,
        sweep_at_rest,
        sweep_without_a_node,
    ],
)
def test_what_is_done_all_the_time_goes_through_no_whole_table(rig: Rig, act: Callable[[Rig], None]) -> None:
    for key in ("a", "a/1", "a/2", "d"):
        rig.put(key, stored=2)
    rig.converge(2)
    with scans_in(rig) as found:
        act(rig)
    assert found == []
