"""Claiming copy rows and ending work on them: the part of the state machine that workers drive.

    missing ──claim(replicate)──► end: stored · missing (failed, back-off) · dead
    suspect ──claim(verify)─────► end: stored (verified) · missing · suspect (failed) · dead
    doomed  ──claim(delete)─────► end: row deleted · doomed (failed)

A claim is a compare-and-set that adds 1 to `fence`; an end applies only while the row still has the fence of its
claim, so a worker that was overtaken writes nothing. Rows are locked by id, in order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, tuple_, update

from common.catalogue.sql.copies import locked_names
from common.catalogue.sql.copies.convergence import SqlConvergence, became_whole
from common.catalogue.sql.engine import rows
from common.catalogue.sql.engine.rows import AnyRow
from common.catalogue.sql.engine.tables import blobs, copies, versions
from common.model.copies import CopyState, Placed
from common.model.work import Claim, CopyAction, Outcome, OutcomeEffect

LAPSED = "lapsed"
_UNLEASED: dict[str, Any] = {"lease_owner": None, "lease_until": None, "enqueued_at": None}
_CLEAN: dict[str, Any] = {
    **_UNLEASED,
    "attempts": 0,
    "failures": None,
    "next_attempt_at": None,
    "first_error": None,
    "first_error_kind": None,
    "first_error_at": None,
    "last_error": None,
    "last_error_kind": None,
    "last_error_at": None,
    "dead_at": None,
    "acknowledged_at": None,
}
_CLAIM_COLUMNS = (
    *rows.BLOB,
    copies.c.id.label("copy_id"),
    copies.c.fence,
    copies.c.node_id,
    copies.c.state,
    copies.c.attempts,
    copies.c.failures,
    copies.c.first_error,
    copies.c.alias,
)
_CLAIMABLE = select(*_CLAIM_COLUMNS).select_from(
    copies.join(blobs, blobs.c.id == copies.c.blob_id).join(versions, versions.c.id == blobs.c.version_id)
)
_DUE = (
    _CLAIMABLE.where(
        copies.c.blob_id.in_(bindparam("blobs", expanding=True)),
        copies.c.node_id.in_(bindparam("nodes", expanding=True)),
        copies.c.state == bindparam("state"),
        versions.c.state.in_(bindparam("version_states", expanding=True)),
        copies.c.next_attempt_at <= bindparam("now"),
        copies.c.dead_at.is_(None),
        copies.c.lease_until.is_(None) | (copies.c.lease_until < bindparam("now")),
    )
    .order_by(copies.c.id)
    .limit(1000)
    .with_for_update(of=copies, skip_locked=True)
)
_LEASE = (
    update(copies)
    .where(copies.c.id.in_(bindparam("ids", expanding=True)))
    .values(
        lease_owner=bindparam("owner"),
        lease_until=bindparam("until"),
        fence=copies.c.fence + 1,
        attempts=copies.c.attempts + 1,
    )
)
_OTHERS = select(copies.c.blob_id, copies.c.node_id, copies.c.state, copies.c.alias).where(
    copies.c.blob_id.in_(bindparam("blobs", expanding=True)), copies.c.state != "doomed"
)
_RENEW = (
    update(copies)
    .where(
        tuple_(copies.c.id, copies.c.fence).in_(bindparam("claims", expanding=True)),
        copies.c.lease_owner == bindparam("owner"),
    )
    .values(lease_until=bindparam("until"))
    .returning(copies.c.id, copies.c.fence)
)
_FENCES = (
    select(copies.c.id, copies.c.fence, copies.c.blob_id, copies.c.node_id, copies.c.stored_at)
    .where(copies.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(copies.c.id)
    .with_for_update()
)
_BY_IDS = copies.c.id.in_(bindparam("ids", expanding=True))
_END_STORED = (
    update(copies)
    .where(_BY_IDS)
    .values(
        **_CLEAN, state="stored", stored_at=bindparam("at"), verified_at=bindparam("verified"), fence=copies.c.fence + 1
    )
)
_RENAME = update(copies).where(copies.c.id == bindparam("of_id")).values(alias=bindparam("new_alias"))
_END_GONE = delete(copies).where(_BY_IDS)
_END_RELEASED = (
    update(copies)
    .where(copies.c.id == bindparam("of_id"))
    .values(
        **_UNLEASED,
        attempts=copies.c.attempts - 1,
        next_attempt_at=bindparam("next"),
        fence=copies.c.fence + 1,
    )
)
_END_OTHERWISE = (
    update(copies)
    .where(copies.c.id == bindparam("of_id"))
    .values(
        **_UNLEASED,
        state=bindparam("to_state"),
        failures=bindparam("counts"),
        next_attempt_at=bindparam("next"),
        first_error=func.coalesce(copies.c.first_error, bindparam("error")),
        first_error_kind=func.coalesce(copies.c.first_error_kind, bindparam("kind")),
        first_error_at=func.coalesce(copies.c.first_error_at, bindparam("error_at")),
        last_error=func.coalesce(bindparam("error"), copies.c.last_error),
        last_error_kind=func.coalesce(bindparam("kind"), copies.c.last_error_kind),
        last_error_at=func.coalesce(bindparam("error_at"), copies.c.last_error_at),
        dead_at=bindparam("dead"),
        fence=copies.c.fence + 1,
    )
)
_LAPSED = (
    _CLAIMABLE.where(copies.c.lease_until < bindparam("now"))
    .order_by(copies.c.lease_until)
    .limit(bindparam("limit"))
    .with_for_update(of=copies, skip_locked=True)
)


class SqlClaims(SqlConvergence):
    def claim(
        self, action: CopyAction, blob_ids: Sequence[str], nodes: Collection[str], owner: str, lease: float
    ) -> Sequence[Claim]:
        states = ["current", "doomed"] if action is CopyAction.DELETE else ["current"]

        def work(connection: Connection) -> Sequence[Claim]:
            now = self._database.now(connection)
            due = connection.execute(
                _DUE,
                {
                    "blobs": list(blob_ids),
                    "nodes": list(nodes),
                    "state": action.state.value,
                    "version_states": states,
                    "now": now,
                },
            ).all()
            if not due:
                return []
            ids = [row.copy_id for row in due]
            connection.execute(_LEASE, {"ids": ids, "owner": owner, "until": now + lease})
            return _claims(connection, due, fence=1, attempts=1)

        return self._database.write(work) if blob_ids and nodes else []

    def renew(self, claims: Sequence[Claim], owner: str, lease: float) -> Collection[tuple[int, int]]:
        fences = [(claim.copy_id, claim.fence) for claim in claims]

        def work(connection: Connection) -> Collection[tuple[int, int]]:
            until = self._database.now(connection) + lease
            renewed = connection.execute(_RENEW, {"claims": fences, "owner": owner, "until": until})
            return {(row.id, row.fence) for row in renewed}

        return self._database.write(work) if claims else set()

    def end(self, outcomes: Sequence[Outcome]) -> OutcomeEffect:
        def work(connection: Connection) -> OutcomeEffect:
            found = {row.id: row for row in connection.execute(_FENCES, {"ids": [end.copy_id for end in outcomes]})}
            valid = [end for end in outcomes if end.copy_id in found and found[end.copy_id].fence == end.fence]
            now = self._database.now(connection)
            _apply(connection, valid, now)
            locked = [(found[end.copy_id], end) for end in valid if end.locked is not None]
            if locked:
                _give_up_names(connection, locked, now)
            stored = [found[end.copy_id] for end in valid if end.state is CopyState.STORED]
            made = {row.blob_id for row in stored if row.stored_at is None}
            return OutcomeEffect(frozenset(end.copy_id for end in valid), became_whole(connection, made, now))

        return self._database.write(work) if outcomes else OutcomeEffect(frozenset(), ())

    def expire_leases(self, limit: int = 1000) -> Sequence[Claim]:
        def work(connection: Connection) -> Sequence[Claim]:
            now = self._database.now(connection)
            over = connection.execute(_LAPSED, {"now": now, "limit": limit}).all()
            if not over:
                return []
            connection.execute(
                update(copies)
                .where(copies.c.id.in_([row.copy_id for row in over]))
                .values(lease_owner="expired", lease_until=now + 10, fence=copies.c.fence + 1)
            )
            return _claims(connection, over, fence=1, attempts=0, lapsed=1)

        return self._database.write(work)


def _claims(connection: Connection, due: Sequence[AnyRow], fence: int, attempts: int, lapsed: int = 0) -> list[Claim]:
    others: dict[str, list[Placed]] = {}
    for row in connection.execute(_OTHERS, {"blobs": list({row.blob_id for row in due})}):
        others.setdefault(row.blob_id, []).append(Placed(row.node_id, CopyState(row.state), row.alias))
    return [
        Claim(
            row.copy_id,
            row.fence + fence,
            row.node_id,
            CopyState(row.state),
            rows.blob(row),
            others.get(row.blob_id, []),
            row.attempts + attempts,
            _counted(row.failures, lapsed),
            row.first_error,
            row.alias,
        )
        for row in due
    ]


def _counted(failures: Mapping[str, int] | None, lapsed: int) -> Mapping[str, int]:
    counts = dict(failures or {})
    return {**counts, LAPSED: counts.get(LAPSED, 0) + lapsed} if lapsed else counts


def _apply(connection: Connection, outcomes: Sequence[Outcome], now: float) -> None:
    for verified in (True, False):
        stored = [end.copy_id for end in outcomes if end.state is CopyState.STORED and end.verified is verified]
        if stored:
            connection.execute(_END_STORED, {"ids": stored, "at": now, "verified": now if verified else None})
    gone = [end.copy_id for end in outcomes if end.state is None]
    if gone:
        connection.execute(_END_GONE, {"ids": gone})
    rest = [end for end in outcomes if end.state not in (None, CopyState.STORED)]
    released = [{"of_id": end.copy_id, "next": end.next_attempt_at or now} for end in rest if end.released]
    if released:
        connection.execute(_END_RELEASED, released)
    failed = list(_failures((end for end in rest if not end.released), now))
    if failed:
        connection.execute(_END_OTHERWISE, failed)


def _give_up_names(connection: Connection, outcomes: Sequence[tuple[AnyRow, Outcome]], now: float) -> None:
    locked_names.remember(
        connection, [(row.node_id, row.blob_id, end.locked, now) for row, end in outcomes if end.locked is not None]
    )
    for _, end in outcomes:
        if end.state is CopyState.STORED:
            connection.execute(_RENAME, {"of_id": end.copy_id, "new_alias": end.alias})


def _failures(outcomes: Iterable[Outcome], now: float) -> Iterable[dict[str, Any]]:
    for end in outcomes:
        yield {
            "of_id": end.copy_id,
            "to_state": end.state.value if end.state else None,
            "counts": dict(end.failures) if end.failures else None,
            "next": end.next_attempt_at or now,
            "error": end.error,
            "kind": end.kind,
            "error_at": now if end.error else None,
            "dead": now if end.dead else None,
        }
