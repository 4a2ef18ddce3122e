"""The small tables: who holds a lease, which keys there are, who may come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError as Taken

from common.catalogue.access import Token
from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.tables import keks, leases, tokens
from common.model.names import new_id


class SqlLeases:
    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, name: str, owner: str, seconds: float) -> bool:
        def work(connection: Connection) -> bool:
            now = self._database.now(connection)
            taken = connection.execute(
                update(leases)
                .where(leases.c.name == name, (leases.c.owner == owner) | (leases.c.until < now))
                .values(owner=owner, until=now + seconds)
            )
            if taken.rowcount:
                return True
            if connection.execute(select(leases.c.owner).where(leases.c.name == name)).first() is not None:
                return False
            connection.execute(insert(leases).values(name=name, owner=owner, until=now + seconds))
            return True

        try:
            return self._database.write(work)
        except Taken:
            return False

    def release(self, name: str, owner: str) -> None:
        self._database.write(
            lambda connection: connection.execute(delete(leases).where(leases.c.name == name, leases.c.owner == owner))
        )


class SqlKeks:
    def __init__(self, database: Database) -> None:
        self._database = database

    def ensure(self, kek_id: str) -> None:
        def work(connection: Connection) -> None:
            connection.execute(select(keks.c.id).order_by(keks.c.id).with_for_update()).all()
            state = connection.execute(select(keks.c.state).where(keks.c.id == kek_id)).scalar()
            if state is None:
                connection.execute(update(keks).where(keks.c.state == "active").values(state="readable"))
                now = self._database.now(connection)
                connection.execute(insert(keks).values(id=kek_id, state="active", created_at=now))

        if self.states().get(kek_id) is None:
            try:
                self._database.write(work)
            except Taken:  # another process was quicker
                return

    def states(self) -> Mapping[str, str]:
        return self._database.read(lambda connection: dict(connection.execute(select(keks.c.id, keks.c.state)).all()))


class SqlTokens:
    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, digest: str) -> Token | None:
        def work(connection: Connection) -> Token | None:
            row = connection.execute(select(tokens).where(tokens.c.digest == digest)).first()
            if row is None or (row.expires_at is not None and row.expires_at <= self._database.now(connection)):
                return None
            buckets = None if row.buckets is None else tuple(row.buckets)
            return Token(row.id, row.name, tuple(row.scopes), buckets, row.expires_at)

        return self._database.read(work)

    def ensure(self, name: str, digest: str, scopes: Sequence[str]) -> None:
        def work(connection: Connection) -> None:
            old = connection.execute(select(tokens.c.digest).where(tokens.c.name == name).with_for_update()).scalar()
            if old == digest:
                return
            connection.execute(delete(tokens).where(tokens.c.name == name))
            connection.execute(
                insert(tokens).values(
                    id=new_id(),
                    name=name,
                    digest=digest,
                    scopes=list(scopes),
                    created_at=self._database.now(connection),
                )
            )

        try:
            self._database.write(work)
        except Taken:  # another process was quicker
            return
