"""When each of those who heal last came to an end, and since when the next one is waited for: a row each."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select, text, update

from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.tables import last_ends
from common.model.actors import ALWAYS_AWAITED, Actor, LastEnd

_ENDED = text(
    "INSERT INTO last_ends (actor, ended_at) VALUES (:actor, :now) "
    "ON CONFLICT (actor) DO UPDATE SET ended_at = excluded.ended_at, awaited_since = NULL"
)
_AWAITED = text(
    "INSERT INTO last_ends (actor, awaited_since) VALUES (:actor, :now) "
    "ON CONFLICT (actor) DO UPDATE SET awaited_since = coalesce(last_ends.awaited_since, excluded.awaited_since)"
)
_BEGUN = text("INSERT INTO last_ends (actor, awaited_since) VALUES (:actor, :now) ON CONFLICT DO NOTHING")


class SqlLastEnds:
    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> Mapping[Actor, LastEnd]:
        def work(connection: Connection) -> Mapping[Actor, LastEnd]:
            found = {
                row.actor: LastEnd(row.ended_at, row.awaited_since) for row in connection.execute(select(last_ends))
            }
            return {actor: found.get(actor.value, LastEnd()) for actor in Actor}

        return self._database.read(work)

    def ended(self, actor: Actor) -> None:
        self._database.write(lambda connection: note_end(connection, actor, self._database.now(connection)))

    def wait_for(self, actors: Mapping[Actor, bool]) -> None:
        def work(connection: Connection) -> None:
            now = self._database.now(connection)
            for actor, awaited in sorted(actors.items()):
                if awaited:
                    connection.execute(_AWAITED, {"actor": actor.value, "now": now})
                else:
                    connection.execute(
                        update(last_ends).where(last_ends.c.actor == actor.value).values(awaited_since=None)
                    )

        self._database.write(work)


def note_end(connection: Connection, actor: Actor, now: float) -> None:
    connection.execute(_ENDED, {"actor": actor.value, "now": now})


def begin(connection: Connection, now: float) -> None:
    """Those who always have something to do are waited for from here on, unless they are already."""
    for actor in ALWAYS_AWAITED:
        connection.execute(_BEGUN, {"actor": actor.value, "now": now})
