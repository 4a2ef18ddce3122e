"""Read what lies on a node and compare it with the rows, unasked, a little at a time. It finds, and never repairs.

A run, on the lease `scrub:<node>`, ends within seconds; the sweep sends for the next (see `passes` for the phases):

1. What may be read has accrued since the last run (`pace`); it is taken up where that one stopped.
2. A copy that is right is verified, in batches, if its row has not changed meanwhile. One that is absent or wrong
   becomes suspect, and a worker is sent to look at it: that one repairs.
3. A node that fails, is suspect, paused or away is left at once: clients come first. A copy at which it fails twice is
   passed over.
4. Checkpoint: rows first, then the cursor. A run that was killed is repeated from the last one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import Counter

from common.catalogue.base import Catalogue
from common.errors import BlobStoreError
from common.model.nodes import Node, NodeHealth, NodeMode
from common.model.scrubbing import NameStanding, Scrub, StoredCopy, scrub_lease
from common.nodes.watched_nodes import WatchedNodes
from common.queue.base import Enqueuer, TaskName
from common.settings import Settings
from workers.audit.listing import IdentityMismatch, NodeListing
from workers.audit.passes import Pass, Phase
from workers.copies.check import BAD, GOOD, UNREACHABLE, CopyCheck
from workers.leases import HeldLeases

LOG = structlog.get_logger(__name__)
READ = Counter("boveda_scrub_bytes", "Bytes read and found right by the scrub", ["node"])
FOUND = Counter("boveda_scrub_found", "Copies that the scrub found absent or wrong", ["node", "finding"])

RUN_SECONDS: Final = 20.0
CHECKPOINT_SECONDS: Final = 5.0
PAGE: Final = 100
DIGITS: Final = "0123456789abcdef"


def scrubbed(node: Node) -> bool:
    """Whether a node is scrubbed now: nothing is in the way of clients there."""
    return node.health is NodeHealth.UP and node.mode in (NodeMode.ACTIVE, NodeMode.DRAINING)


class ScrubNode:
    def __init__(
        self,
        catalogue: Catalogue,
        nodes: WatchedNodes,
        check_copy: CopyCheck,
        listing: NodeListing,
        held: HeldLeases,
        enqueuer: Enqueuer,
        settings: Settings,
        going: Callable[[], bool],
        seconds: float = RUN_SECONDS,
    ) -> None:
        self._catalogue = catalogue
        self._nodes = nodes
        self._check_copy = check_copy
        self._listing = listing
        self._held = held
        self._enqueuer = enqueuer
        self._period = settings.scrub_period
        self._going = going
        self._seconds = seconds

    def __call__(self, node_id: str) -> bool:
        """One run; nothing when nothing is due, and False while another one has the node."""
        lease = scrub_lease(node_id)
        if not self._held.take(lease):
            return False
        try:
            run = _Run(Pass.resumed(self._catalogue.scrubs.get(node_id)), self._held.holder(lease))
            now = self._catalogue.now()
            if self._takes(node_id) and run.at.due(now, self._period):
                run.at.accrue(now, self._period)
                self._go_on(run, lambda: self._going() and self._held.has(lease))
        finally:
            self._held.give(lease)
        return True

    def _takes(self, node_id: str) -> bool:
        node = self._nodes.all().get(node_id)
        return node is not None and scrubbed(node)

    def _go_on(self, run: _Run, going: Callable[[], bool]) -> None:
        until = time.monotonic() + self._seconds
        save_at = time.monotonic() + CHECKPOINT_SECONDS
        steps = {
            Phase.CENSUS: self._census,
            Phase.WEIGH: self._weigh,
            Phase.FRESH: self._read,
            Phase.REST: self._read,
            Phase.NAMES: self._names,
        }
        if run.at.phase is Phase.IDLE:
            run.at.begin(self._catalogue.now())
        try:
            while run.at.phase is not Phase.IDLE and going() and time.monotonic() < until:
                if not self._takes(run.node_id) or not steps[run.at.phase](run):
                    break
                if time.monotonic() > save_at:
                    if not self._save(run):
                        return
                    save_at = time.monotonic() + CHECKPOINT_SECONDS
        except (BlobStoreError, IdentityMismatch) as error:
            LOG.info("scrub_left_node", node=run.node_id, detail=error.detail)
        self._save(run)

    def _verify(self, run: _Run) -> None:
        self._catalogue.scrubs.verified(run.verified, run.since)
        run.verified.clear()

    def _save(self, run: _Run) -> bool:
        self._verify(run)
        return self._catalogue.scrubs.save(run.at.checkpoint(), run.holder)

    # -- the phases: True when there may be more to do at once

    def _census(self, run: _Run) -> bool:
        digit = DIGITS[run.at.after]
        self._listing.check(run.node_id)
        present = self._listing.present(run.node_id, digit)
        self._listing.check(run.node_id)
        after: int | None = 0
        while after is not None:
            count, after = self._catalogue.scrubs.absent(run.node_id, digit, present, after)
            if count:
                LOG.info("copies_absent", node=run.node_id, count=count)
        run.at.after += 1
        if run.at.after == len(DIGITS):
            run.at.advance(self._catalogue.now())
        return True

    def _weigh(self, run: _Run) -> bool:
        _, size, after = self._catalogue.scrubs.weigh(run.node_id, run.at.after)
        run.at.total += size
        if after is None:
            now = self._catalogue.now()
            run.at.advance(now)
            run.at.credit = run.at.rate(now, self._period)  # a second's worth, to begin with
        else:
            run.at.after = after
        return True

    def _read(self, run: _Run) -> bool:
        self._verify(run)
        run.since = self._catalogue.now()
        before = None if run.at.phase is Phase.FRESH else run.at.scrub.started_at
        page, after = self._catalogue.scrubs.unread(run.node_id, before, run.at.after, PAGE)
        for copy in page:
            if run.at.credit <= 0 or not self._going() or not self._takes(run.node_id):
                return False
            if not self._look(run, copy):
                return False
            run.at.after = copy.copy_id
        if after is None:
            run.at.advance(self._catalogue.now())
        else:
            run.at.after = after
        return True

    def _look(self, run: _Run, copy: StoredCopy) -> bool:
        """False when the node is to be left; the copy is the next run's first, once more."""
        finding = self._check_copy(copy.node_id, copy.blob, copy.alias)
        run.at.credit -= copy.blob.cipher_length
        if finding.kind == UNREACHABLE and run.at.stuck != copy.copy_id:
            run.at.stuck = copy.copy_id
            return False
        if finding.kind == GOOD:
            run.verified.append((copy.copy_id, copy.fence))
            READ.labels(copy.node_id).inc(copy.blob.cipher_length)
        if finding.kind in BAD and self._catalogue.copies.suspect(copy.blob.id, copy.node_id, finding.detail):
            FOUND.labels(copy.node_id, finding.kind).inc()
            LOG.warning("scrub_found", blob=copy.blob.id, node=copy.node_id, finding=finding.kind)
            run.at.found[finding.kind] = run.at.found.get(finding.kind, 0) + 1
            self._enqueuer.enqueue(TaskName.VERIFY, [copy.blob.id])
        run.at.blobs += 1
        run.at.bytes += copy.blob.cipher_length
        return True

    def _names(self, run: _Run) -> bool:
        names = next(self._listing.pages(run.node_id, run.at.name), None)
        if names is None:
            run.at.advance(self._catalogue.now())
        else:
            standings = self._catalogue.orphans.sort(run.node_id, names.old)
            run.at.orphans += sum(1 for standing in standings.values() if standing is NameStanding.ORPHAN)
            run.at.name = names.last
        return True


@dataclass
class _Run:
    at: Pass
    holder: str
    verified: list[tuple[int, int]]  # since: from before the first of these was read
    since: float

    def __init__(self, at: Pass, holder: str) -> None:
        self.at = at
        self.holder = holder
        self.verified = []
        self.since = 0.0

    @property
    def node_id(self) -> str:
        return self.at.scrub.node_id


def is_due(scrub: Scrub, now: float, period: float) -> bool:
    """Whether a run on this node has something to do."""
    return Pass.resumed(scrub).due(now, period)
