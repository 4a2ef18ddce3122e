"""Nodes: what was configured and asked for, and the shared verdict of what was seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError as Taken

from common.catalogue.nodes import NodeTotals
from common.catalogue.sql import totals
from common.catalogue.sql.engine.database import Database, unseen
from common.catalogue.sql.engine.rows import AnyRow
from common.catalogue.sql.engine.tables import (
    IS_UPLOADING,
    blobs,
    cluster,
    copies,
    leases,
    node_health,
    nodes,
    removed_nodes,
    versions,
)
from common.catalogue.sql.last_ends import note_end
from common.catalogue.sql.scrubs import hold_reclaim, restart, trust_generation
from common.errors import Conflict, NoSuchNode
from common.model.actors import Actor
from common.model.names import new_id
from common.model.nodes import Node, NodeHealth, NodeMode, NodeSpec

_ALL = (
    select(
        nodes,
        node_health.c.health,
        node_health.c.since,
        node_health.c.last_seen,
        node_health.c.last_error,
        node_health.c.unreachable_since,
    )
    .select_from(nodes.join(node_health, node_health.c.node_id == nodes.c.id))
    .order_by(nodes.c.name)
)
# What a mode can follow. A node that was given up takes part again only as a whole.
_LIVE = ("active", "draining", "paused")
_BEFORE = {"active": (*_LIVE, "retired"), "draining": _LIVE, "paused": _LIVE, "retired": _LIVE}


_AWAY = {"down", "foreign"}
_NOTHING: Mapping[str, float] = MappingProxyType({})

# What an upload in progress has put, or is about to put, is not in the rows yet.
_uploading = select(blobs.c.id).join(versions, versions.c.id == blobs.c.version_id).where(IS_UPLOADING)
_PENDING = (copies.c.state == "missing") & copies.c.blob_id.in_(_uploading)
_HELD = copies.c.state.in_(("missing", "suspect")) & copies.c.lease_until.is_not(None)
_TAKEN = {"fence": copies.c.fence + 1, "lease_owner": None, "lease_until": None, "enqueued_at": None}
_SUSPECT = {**_TAKEN, "state": "suspect"}


def _node(row: AnyRow) -> Node:
    return Node(
        id=row.id,
        spec=NodeSpec(row.name, row.endpoint, row.bucket, row.credentials, row.region, row.zone, row.weight),
        mode=NodeMode(row.mode),
        mode_until=row.mode_until,
        writable=row.writable,
        identity=row.identity,
        epoch=row.epoch,
        health=NodeHealth(row.health),
        since=row.since,
        last_seen=row.last_seen,
        last_error=row.last_error,
        writable_since=row.writable_checked_at,
        unreachable_since=row.unreachable_since,
    )


def one_node(connection: Connection, name: str) -> Node:
    """NoSuchNode."""
    row = connection.execute(_ALL.where(nodes.c.name == name)).first()
    if row is None:
        raise NoSuchNode(f"there is no node '{name}'")
    return _node(row)


class SqlNodes:
    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> Sequence[Node]:
        return self._database.read(lambda connection: [_node(row) for row in connection.execute(_ALL)])

    def register(self, specs: Sequence[NodeSpec]) -> Sequence[str]:
        def work(connection: Connection) -> Sequence[str]:
            now = self._database.now(connection)
            known = {row.name: row.endpoint for row in connection.execute(select(nodes.c.name, nodes.c.endpoint))}
            gone = select(removed_nodes.c.name, removed_nodes.c.endpoint)
            removed = {(row.name, row.endpoint) for row in connection.execute(gone) if row.name not in known}
            for spec in specs:
                if (spec.name, spec.endpoint) in removed:
                    continue
                if spec.name not in known:
                    insert_node(connection, spec, now)
                elif spec.endpoint != known[spec.name]:
                    moved = update(nodes).where(nodes.c.name == spec.name)
                    connection.execute(moved.values(endpoint=spec.endpoint))
            return [spec.name for spec in specs if (spec.name, spec.endpoint) in removed]

        try:
            return self._database.write(work)
        except Taken:
            raise Conflict("an endpoint and bucket can belong to one node only") from None

    def totals(self) -> Mapping[str, NodeTotals]:
        return self._database.read(totals.of_nodes)

    def write_health(
        self,
        verdicts: Mapping[str, tuple[NodeHealth, float | None, str | None]],
        owner: str,
        unseen: Mapping[str, float] = _NOTHING,
    ) -> bool:
        def work(connection: Connection) -> bool:
            now = self._database.now(connection)
            lease = select(leases.c.owner).where(leases.c.name == "health", leases.c.until > now)
            if connection.execute(lease).scalar() != owner:
                return False
            before = dict(connection.execute(select(node_health.c.node_id, node_health.c.health)).all())
            for node_id, (health, last_seen, last_error) in sorted(verdicts.items()):
                values: dict[str, Any] = {"health": health.value, "last_error": last_error}
                if last_seen is not None:
                    values["last_seen"] = last_seen
                if _changed(before.get(node_id), health.value):
                    values["since"] = now
                if health.value in _AWAY:
                    values["woken_since"] = None
                if node_id in unseen:
                    values["unreachable_since"] = _unreachable(unseen[node_id], now)
                connection.execute(update(node_health).where(node_health.c.node_id == node_id).values(**values))
            note_end(connection, Actor.HEALTH, now)
            return True

        return self._database.write(work)

    def returned(self) -> Mapping[str, bool]:
        away = node_health.c.woken_since.is_(None)
        statement = select(node_health.c.node_id, away).where(
            node_health.c.health == "up", away | (node_health.c.woken_since < node_health.c.since)
        )
        return self._database.read(lambda connection: dict(connection.execute(statement).all()))

    def woken(self, node_id: str, since: float) -> None:
        self._database.write(
            lambda connection: connection.execute(
                update(node_health)
                .where(node_health.c.node_id == node_id, node_health.c.since == since)
                .values(woken_since=since)
            )
        )

    def set_identity(self, node_id: str, identity: str, epoch: int) -> None:
        def work(connection: Connection) -> None:
            was = connection.execute(select(nodes.c.identity).where(nodes.c.id == node_id).with_for_update()).scalar()
            before = _identify(connection, node_id, identity, epoch)
            if identity == "known" and was == "new":
                generation = connection.execute(select(cluster.c.generation)).scalar_one()
                trust_generation(connection, node_id, generation)
            if identity == "known" and before is not None and epoch > before + 1:
                why = "the node has seen a later catalogue than this one (restored or rolled back?)"
                hold_reclaim(connection, node_id, why, self._database.now(connection))

        self._database.write(work)

    def taken_in(self, node_id: str, epoch: int) -> None:
        def work(connection: Connection) -> None:
            _identify(connection, node_id, "known", epoch)
            restart(connection, node_id, self._database.now(connection))

        self._database.write(work)

    def set_writable(self, node_id: str, writable: bool) -> None:
        def work(connection: Connection) -> None:
            now = self._database.now(connection)
            changed = update(nodes).where(nodes.c.id == node_id, nodes.c.writable != writable)
            connection.execute(changed.values(writable=writable, writable_checked_at=now))

        self._database.write(work)

    def set_mode(self, name: str, mode: str, until: float | None) -> Node:
        def work(connection: Connection) -> Node:
            changeable = nodes.c.mode.in_([mode, *_BEFORE[mode]])
            done = connection.execute(
                update(nodes).where(nodes.c.name == name, changeable).values(mode=mode, mode_until=until)
            )
            node = one_node(connection, name)
            if not done.rowcount:
                raise Conflict(f"node '{name}' is {node.mode.value}; make it active first")
            return node

        return self._database.write(work, landed=unseen)

    def end_pause(self, node_id: str, until: float) -> bool:
        def work(connection: Connection) -> bool:
            ended = connection.execute(
                update(nodes)
                .where(nodes.c.id == node_id, nodes.c.mode == "paused", nodes.c.mode_until == until)
                .values(mode="active", mode_until=None)
            )
            return bool(ended.rowcount)

        return self._database.write(work)

    def doubt(self, node_id: str, since: float | None = None, limit: int = 1000) -> int:
        stored = copies.c.state == "stored"
        if since is not None:
            stored &= (copies.c.stored_at >= since) | (copies.c.verified_at >= since)
        for which, changes in ((stored, _SUSPECT), (_PENDING, _SUSPECT), (_HELD, _TAKEN)):
            there = select(copies.c.id).where(copies.c.node_id == node_id, which).order_by(copies.c.id).limit(limit)
            if page := self._change(there, changes):
                return page
        return 0

    def _change(self, there: Select[tuple[int]], changes: Mapping[str, Any]) -> int:
        def work(connection: Connection) -> None:
            ids = connection.execute(there.where(copies.c.id.in_(page)).with_for_update()).scalars().all()
            due = update(copies).where(copies.c.id.in_(ids))
            connection.execute(due.values(**changes, next_attempt_at=self._database.now(connection)))

        # Found before anything is locked: that may be a look at all of the node's rows.
        page = self._database.read(lambda connection: connection.execute(there).scalars().all())
        if page:
            self._database.write(work)
        return len(page)

    def cluster(self) -> tuple[str, str]:
        def work(connection: Connection) -> tuple[str, str]:
            row = connection.execute(select(cluster.c.id, cluster.c.generation)).one()
            return row.id, row.generation

        return self._database.read(work)


def _changed(before: str | None, health: str) -> bool:
    """A node that is away stays away since then, whatever else is found to be wrong with it."""
    return before != health and not {before, health} <= _AWAY


def _unreachable(unseen: float, now: float) -> ColumnElement[float] | None:
    """Whoever saw it last knows since when; who takes over from him saw it never."""
    return func.coalesce(node_health.c.unreachable_since, now - unseen) if unseen else None


def _identify(connection: Connection, node_id: str, identity: str, epoch: int) -> int | None:
    """The epoch that the row had."""
    before = connection.execute(select(nodes.c.epoch).where(nodes.c.id == node_id).with_for_update()).scalar()
    connection.execute(
        update(nodes)
        .where(nodes.c.id == node_id)
        .values(identity=identity, epoch=case((nodes.c.epoch < epoch, epoch), else_=nodes.c.epoch))
    )
    return before


def remember_removed(connection: Connection, gone: Iterable[tuple[str, str]], now: float) -> None:
    """Names and endpoints: a list of nodes that is read again does not bring them back. Another may take the name."""
    for name, endpoint in gone:
        connection.execute(delete(removed_nodes).where(removed_nodes.c.name == name))
        connection.execute(insert(removed_nodes).values(name=name, endpoint=endpoint, removed_at=now))


def insert_node(connection: Connection, spec: NodeSpec, now: float) -> None:
    connection.execute(delete(removed_nodes).where(removed_nodes.c.name == spec.name))
    node_id = new_id()
    connection.execute(
        insert(nodes).values(
            id=node_id,
            name=spec.name,
            endpoint=spec.endpoint,
            bucket=spec.bucket,
            region=spec.region,
            zone=spec.zone,
            weight=spec.weight,
            credentials=spec.credentials,
            mode="active",
            writable=True,
            identity="new",
            epoch=0,
            created_at=now,
        )
    )
    # Not seen yet: the first probes decide.
    connection.execute(insert(node_health).values(node_id=node_id, health="suspect", since=now, woken_since=now))
