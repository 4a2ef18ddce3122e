"""Nodes come and go. Who takes a node away locks its row FOR UPDATE before it counts (see `locks`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, case, delete, exists, func, select, tuple_, update
from sqlalchemy.exc import IntegrityError as Taken

from common.catalogue.sql.engine import rows
from common.catalogue.sql.engine.database import Database, unseen
from common.catalogue.sql.engine.tables import blobs, buckets, copies, node_health, nodes, objects, versions
from common.catalogue.sql.nodes import insert_node, one_node, remember_removed
from common.catalogue.topology import Remainder
from common.errors import Conflict, NoSuchNode
from common.model.nodes import Node, NodeSpec

_HELD = ("stored", "suspect")
_LOCKED = select(nodes.c.id, nodes.c.mode, nodes.c.endpoint).where(nodes.c.name == bindparam("name")).with_for_update()
_HAS_ROWS = exists().where(copies.c.node_id == nodes.c.id)
_EMPTY = select(nodes.c.id).where(nodes.c.mode == "draining", ~_HAS_ROWS)
_page = (
    select(copies.c.id, copies.c.blob_id, copies.c.state)
    .where(copies.c.node_id == bindparam("node"), copies.c.id > bindparam("after"))
    .order_by(copies.c.id)
    .limit(bindparam("limit"))
    .subquery()
)
_other = copies.alias("other")
_elsewhere = exists().where(
    _other.c.blob_id == _page.c.blob_id,
    _other.c.state == "stored",
    _other.c.node_id == nodes.c.id,
    nodes.c.id != bindparam("node"),
    nodes.c.mode != "retired",
    node_health.c.node_id == nodes.c.id,
    node_health.c.health != "foreign",
)
_last = _page.c.state.in_(_HELD) & (versions.c.state == "current") & ~_elsewhere
_ONLY_ON = select(func.count(), func.max(_page.c.id), func.sum(case((_last, 1), else_=0))).select_from(
    _page.join(blobs, blobs.c.id == _page.c.blob_id).join(versions, versions.c.id == blobs.c.version_id)
)
_OBJECTS = (
    select(objects.c.bucket_id, buckets.c.name, objects.c.key, objects.c.version_id)
    .select_from(objects.join(buckets, buckets.c.id == objects.c.bucket_id))
    .order_by(objects.c.bucket_id, objects.c.key)
    .limit(bindparam("limit"))
)
_OBJECTS_BEHIND = _OBJECTS.where(
    tuple_(objects.c.bucket_id, objects.c.key) > tuple_(bindparam("bucket"), bindparam("key"))
)
_per_blob = (
    select(
        blobs.c.version_id,
        func.sum(
            case((rows.READABLE & copies.c.node_id.not_in(bindparam("without", expanding=True)), 1), else_=0)
        ).label("left"),
    )
    .select_from(rows.with_copies(blobs))
    .where(blobs.c.version_id.in_(bindparam("versions", expanding=True)))
    .group_by(blobs.c.id, blobs.c.version_id)
    .subquery()
)
_LEFT = select(_per_blob.c.version_id, func.min(_per_blob.c.left)).group_by(_per_blob.c.version_id)


class SqlTopology:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, spec: NodeSpec) -> Node:
        def work(connection: Connection) -> Node:
            if connection.execute(select(nodes.c.id).where(nodes.c.name == spec.name)).first() is not None:
                raise Conflict(f"there is a node '{spec.name}' already")
            insert_node(connection, spec, self._database.now(connection))
            return one_node(connection, spec.name)

        try:
            return self._database.write(work, landed=unseen)
        except Taken:
            raise Conflict("this name, or this endpoint and bucket, belongs to a node already") from None

    def remove(self, name: str) -> None:
        def work(connection: Connection) -> None:
            row = connection.execute(_LOCKED, {"name": name}).first()
            if row is None:
                raise NoSuchNode(f"there is no node '{name}'")
            if row.mode != "draining":
                raise Conflict(f"node '{name}' is {row.mode}: drain it first")
            if connection.execute(select(copies.c.id).where(copies.c.node_id == row.id).limit(1)).first() is not None:
                raise Conflict(f"node '{name}' is not empty yet: its copies are still being moved")
            connection.execute(delete(nodes).where(nodes.c.id == row.id))
            remember_removed(connection, [(name, row.endpoint)], self._database.now(connection))

        self._database.write(work, landed=unseen)

    def retire(self, name: str) -> Node:
        def work(connection: Connection) -> Node:
            row = connection.execute(_LOCKED, {"name": name}).first()
            if row is None:
                raise NoSuchNode(f"there is no node '{name}'")
            connection.execute(update(nodes).where(nodes.c.id == row.id).values(mode="retired", mode_until=None))
            return one_node(connection, name)

        return self._database.write(work, landed=unseen)

    def empty(self) -> Collection[str]:
        return self._database.read(lambda connection: set(connection.execute(_EMPTY).scalars()))

    def only_on(self, node_id: str, after: int, limit: int = 1000) -> tuple[int, int | None]:
        def work(connection: Connection) -> tuple[int, int | None]:
            parameters = {"node": node_id, "after": after, "limit": limit}
            size, last, found = connection.execute(_ONLY_ON, parameters).one()
            return int(found or 0), last if size == limit else None

        return self._database.read(work)

    def remainders(
        self, without: Collection[str], after: tuple[str, str] | None, limit: int = 500
    ) -> tuple[Sequence[Remainder], tuple[str, str] | None]:
        def work(connection: Connection) -> tuple[Sequence[Remainder], tuple[str, str] | None]:
            statement = _OBJECTS
            parameters: dict[str, str | int] = {"limit": limit}
            if after is not None:
                statement = _OBJECTS_BEHIND
                parameters |= {"bucket": after[0], "key": after[1]}
            page = connection.execute(statement, parameters).all()
            ids = [row.version_id for row in page]
            left = dict(connection.execute(_LEFT, {"versions": ids, "without": list(without)}).all()) if ids else {}
            found = [Remainder(row.name, row.key, left.get(row.version_id, 0)) for row in page]
            return found, (page[-1].bucket_id, page[-1].key) if len(page) == limit else None

        return self._database.read(work)
