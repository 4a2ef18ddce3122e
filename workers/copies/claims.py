"""Claimed copies, from the claim to the outcome: what every action on copies shares.

1. `take` claims the due rows of some blobs on the nodes that take this work now; their leases are renewed from here on.
2. The action calls nodes with `deadline`, which ends before the lease does.
3. Exactly one of `stored`, `gone`, `failed`, `absent`, `parked`, `released` ends a row; `abandon` leaves the rest to
   the sweep.
4. `flush` returns when the outcomes are written.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence

import structlog
from prometheus_client import Counter

from common.blobstore.base import Deadline, background
from common.catalogue.base import Catalogue
from common.errors import BlobStoreError, NodeBusy
from common.model.copies import CopyState
from common.model.work import Claim, CopyAction, Locked, Outcome
from common.nodes.watched_nodes import WatchedNodes
from common.settings import Settings
from workers.copies.outcomes import OutcomeWriter
from workers.copies.retry import LIMITS, LOCKED, MISSING, NO_GOOD_COPY, NODE, WRONG, after_failure, delay
from workers.copies.targets import taking
from workers.leases import HeldLeases

LOG = structlog.get_logger(__name__)
OUTCOMES = Counter("boveda_copies_ended_total", "Ends of work on claimed copies", ["result"])
PARK_SECONDS = 5.0
BUSY_SECONDS = 1.0


class LeaseOver(Exception):
    """The lease may end before a call does: nothing more is done with this row."""


class Claims:
    def __init__(
        self, catalogue: Catalogue, nodes: WatchedNodes, held: HeldLeases, outcomes: OutcomeWriter, settings: Settings
    ):
        self._catalogue = catalogue
        self._nodes = nodes
        self._held = held
        self._outcomes = outcomes
        self._base = settings.backoff_base

    def take(self, action: CopyAction, blob_ids: Sequence[str]) -> Sequence[Claim]:
        known = self._nodes.all()
        nodes = taking(known.values(), action)
        # Another process may see a node as well before this one does: its rows are not to wait for a second message.
        self._catalogue.copies.recall(action, blob_ids, known.keys() - nodes)
        before = time.monotonic()
        claims = self._catalogue.copies.claim(action, blob_ids, nodes, self._held.owner, self._held.seconds)
        self._held.hold(claims, before)
        return claims

    def deadline(self, claim: Claim) -> Deadline:
        """For a call with this blob's bytes. LeaseOver when little of the lease is left: it was not renewed."""
        left = self._held.left(claim)
        if left < self._held.seconds / 4:
            raise LeaseOver
        return Deadline(min(left, background(claim.blob.cipher_length).remaining()))

    # -- outcomes

    def stored(
        self, claim: Claim, verified: bool = False, alias: str | None = None, locked: Locked | None = None
    ) -> None:
        """`locked`: the name that was given up for the one with this `alias`."""
        end = Outcome(claim.copy_id, claim.fence, CopyState.STORED, verified=verified, locked=locked, alias=alias)
        self._end(claim, end)

    def gone(self, claim: Claim, locked: Locked | None = None) -> None:
        """A doomed copy its node confirmed gone, or whose name was given up."""
        self._end(claim, Outcome(claim.copy_id, claim.fence, None, locked=locked))

    def failed(self, claim: Claim, kind: str, detail: str, state: CopyState | None = None) -> None:
        decision = after_failure(claim.failures, kind, self._base, random.random())  # noqa: S311 - jitter
        if decision.dead:
            LOG.error("copy_dead", blob=claim.blob.id, node=claim.node_id, kind=kind, detail=detail)
        self._end(
            claim,
            Outcome(
                claim.copy_id,
                claim.fence,
                state or claim.state,
                error=detail,
                kind=kind,
                failures=decision.failures,
                next_attempt_at=self._catalogue.now() + decision.delay,
                dead=decision.dead,
            ),
        )

    def not_deleted(self, claim: Claim, detail: str, deletes_others: bool) -> None:
        """A node failed at deleting this name. When it `deletes_others`, the name is given up after some attempts."""
        if deletes_others and claim.failures.get(LOCKED, 0) + 1 >= LIMITS[LOCKED]:
            LOG.error("name_locked", blob=claim.blob.id, node=claim.node_id, name=claim.name, detail=detail)
            self.gone(claim, Locked(claim.alias, detail))
        else:
            self.failed(claim, LOCKED if deletes_others else NODE, detail)

    def failed_with(self, claim: Claim, error: BlobStoreError) -> None:
        """A node's answer: one that was not asked at all costs no attempt."""
        if isinstance(error, NodeBusy):
            self.released(claim, BUSY_SECONDS)
        else:
            self.failed(claim, error.kind, error.detail)

    def damaged(self, claim: Claim, detail: str, state: CopyState | None = None) -> None:
        """Every wanted copy was looked at, and none is good: a dead letter."""
        self.failed(claim, NO_GOOD_COPY, detail, state)

    def absent(self, claim: Claim) -> None:
        """A suspect copy is not there, and cannot be made now: from here on it is a missing one."""
        self._end(
            claim,
            Outcome(
                claim.copy_id,
                claim.fence,
                CopyState.MISSING,
                error="the node does not have the blob",
                kind=MISSING,
                failures=claim.failures,
            ),
        )

    def parked(self, claim: Claim, detail: str) -> None:
        """A suspect copy's bytes are wrong, and nothing good can be read now: the sweep leaves it until another copy
        can be (see `Copies.due`). Not a failure of its own, so it is never dead by it."""
        wait = max(min(PARK_SECONDS, 8 * self._base), delay(claim.attempts, self._base, 1.0))
        due = self._catalogue.now() + wait * (1 + random.random())  # noqa: S311 - jitter
        self._end(
            claim,
            Outcome(
                claim.copy_id,
                claim.fence,
                claim.state,
                error=detail,
                kind=WRONG,
                failures=claim.failures,
                next_attempt_at=due,
            ),
        )

    def released(self, claim: Claim, seconds: float = PARK_SECONDS) -> None:
        """Put back without an attempt, for some seconds."""
        delay = min(seconds, 8 * self._base) * (1 + random.random())  # noqa: S311 - jitter
        due = self._catalogue.now() + delay
        self._end(claim, Outcome(claim.copy_id, claim.fence, claim.state, next_attempt_at=due, released=True))

    def abandon(self, claims: Iterable[Claim]) -> None:
        """Leave what was not ended to the sweep: their leases are no longer renewed. Ended ones are not touched."""
        self._held.drop(claims)

    def flush(self) -> None:
        self._outcomes.flush()

    def _end(self, claim: Claim, end: Outcome) -> None:
        self._held.drop([claim])
        OUTCOMES.labels(_result(end)).inc()
        self._outcomes.add(end)


def _result(end: Outcome) -> str:
    if end.released:
        return "released"
    return end.kind or (end.state.value if end.state is not None else "deleted")


def by_blob(claims: Iterable[Claim]) -> Sequence[Sequence[Claim]]:
    """Claims grouped by blob, in order of their first."""
    groups: dict[str, list[Claim]] = {}
    for claim in claims:
        groups.setdefault(claim.blob.id, []).append(claim)
    return list(groups.values())
