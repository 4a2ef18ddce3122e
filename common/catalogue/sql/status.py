"""Counts over the whole catalogue. Cheap while little is wrong: what is fully stored is not looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, func, or_, select, union

from common.catalogue.sql import totals
from common.catalogue.sql.engine import rows
from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.tables import IS_WAITING, blobs, copies, jobs, node_health, nodes, versions
from common.catalogue.sql.jobs import OPEN
from common.catalogue.status import StatusCounts
from common.model.versions import ObjectState, Protection

COUNTING_SECONDS = 300  # with a node down: some 27 µs for each object with a copy on it

_BAD_NODES = (
    select(nodes.c.id)
    .select_from(nodes.join(node_health, node_health.c.node_id == nodes.c.id))
    .where(
        or_(
            nodes.c.mode == "retired",
            node_health.c.health.in_(("down", "foreign")),
            node_health.c.unreachable_since.is_not(None),
        )
    )
)
_of_copies = select(blobs.c.version_id).select_from(copies.join(blobs, blobs.c.id == copies.c.blob_id))
# Each side by an index of its own; with OR, SQLite would go through all copies. Nodes by their ids: with a subquery
# PostgreSQL would expect many rows, and go through all versions though no node is away.
_waiting = _of_copies.where(IS_WAITING)
_away = _of_copies.where(copies.c.node_id.in_(bindparam("nodes", expanding=True)))


def _classes(which: Any) -> Any:
    """How many current versions of `which` are alike, and when the oldest of them was made."""
    counted = rows.per_version(which).subquery()
    protection = (versions.c.wanted, counted.c.good, counted.c.live, counted.c.readable, counted.c.harmed)
    return (
        select(*protection, func.count(), func.min(versions.c.created_at))
        .select_from(counted.join(versions, versions.c.id == counted.c.version_id))
        .where(versions.c.state == "current")
        .group_by(*protection)
    )


_OF_WAITING = _classes(_waiting)
_OF_WAITING_OR_AWAY = _classes(union(_waiting, _away))
_WAITING = (
    select(copies.c.state, func.count())
    .select_from(copies.join(blobs, blobs.c.id == copies.c.blob_id).join(versions, versions.c.id == blobs.c.version_id))
    .where(IS_WAITING, or_(versions.c.state == "current", copies.c.state == "doomed"))
    .group_by(copies.c.state)
)
_DEAD = select(func.count(), func.min(copies.c.dead_at)).where(
    copies.c.dead_at.is_not(None), copies.c.acknowledged_at.is_(None)
)


def status(database: Database, kept: StatusCounts | None) -> StatusCounts:
    def work(connection: Connection) -> StatusCounts:
        now = database.now(connection)
        objects, oldest, at = (
            (kept.objects, kept.oldest_unprotected, kept.counted_at) if kept else _objects(database, connection, now)
        )
        waiting: dict[str, int] = dict(connection.execute(_WAITING).all())
        dead, dead_since = connection.execute(_DEAD).one()
        return StatusCounts(
            objects=objects,
            copies_missing=waiting.get("missing", 0),
            copies_suspect=waiting.get("suspect", 0),
            copies_doomed=waiting.get("doomed", 0),
            oldest_unprotected=oldest,
            dead_letters=dead,
            dead_since=dead_since,
            jobs_open=connection.execute(
                select(func.count()).select_from(jobs).where(jobs.c.state.in_(OPEN))
            ).scalar_one(),
            counted_at=at,
        )

    return database.read(work)


def _objects(database: Database, connection: Connection, now: float) -> tuple[Mapping[str, int], float | None, float]:
    """How many are in each state, the age of the oldest that is not protected, and when that was so."""
    total = totals.objects_in_all(connection)
    states: Counter[ObjectState] = Counter()
    oldest: float | None = None
    bad = connection.execute(_BAD_NODES).scalars().all()
    if bad:
        with database.patient(connection, COUNTING_SECONDS):
            found = connection.execute(_OF_WAITING_OR_AWAY, {"nodes": bad}).all()
    else:
        found = connection.execute(_OF_WAITING).all()
    for wanted, good, live, readable, harmed, count, created in found:
        state = Protection(wanted, min(good, wanted), min(live, wanted), readable, bool(harmed)).state
        states[state] += count
        if state is not ObjectState.PROTECTED:
            oldest = created if oldest is None else min(oldest, created)
    states[ObjectState.PROTECTED] += max(0, total - sum(states.values()))
    age = None if oldest is None else max(0.0, now - oldest)
    return {state.value: states.get(state, 0) for state in ObjectState}, age, now
