"""What the sweep sends round to the nodes by itself: scrub runs, reclaims; and tombstones that have done their work.

Nothing here depends on a message: what was lost is sent again when it is due again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from common.catalogue.base import Catalogue
from common.errors import QueueUnavailable
from common.model.actors import Actor
from common.model.names import new_id
from common.model.nodes import Node
from common.queue.base import JobQueue, Queue, TaskName
from common.settings import Settings
from workers.audit.scrub import is_due, scrubbed

QUEUE_LIMIT: Final = 20
TOMBSTONE_SECONDS: Final = 86400.0
TOMBSTONES: Final = 300
LOOKS: Final = 60  # times an interval at which it is looked whether a reclaim is due


class Schedule:
    def __init__(self, catalogue: Catalogue, queue: JobQueue, settings: Settings) -> None:
        self._catalogue = catalogue
        self._queue = queue
        self._period = settings.scrub_period
        self._interval = settings.reclaim_interval
        self._repeat = settings.repeat_seconds
        self._sent: dict[str, tuple[float, float]] = {}
        self._looked_at = float("-inf")

    def scrub(self) -> None:
        """Send for the runs that are due; for a node again when its last run wrote its checkpoint, or after a while."""
        nodes = [node for node in self._catalogue.nodes.all() if scrubbed(node)]
        scrubs = self._catalogue.scrubs.all()
        now = self._catalogue.now()
        due = [
            (node.id, scrubs[node.id].updated_at if node.id in scrubs else 0.0)
            for node in nodes
            if node.id not in scrubs or is_due(scrubs[node.id], now, self._period)
        ]
        fresh = [(node_id, updated) for node_id, updated in due if self._unsent(node_id, updated)]
        if not fresh or self._queue.depths().get(Queue.SCRUB.value, 0) > QUEUE_LIMIT:
            return
        for node_id, updated in fresh:
            self._queue.publish(TaskName.SCRUB, [node_id])
            self._sent[node_id] = updated, time.monotonic()

    def _unsent(self, node_id: str, updated: float) -> bool:
        sent, at = self._sent.get(node_id, (None, 0.0))
        return sent != updated or time.monotonic() - at > self._repeat

    def reclaim(self) -> None:
        """Once an interval for each node: a lease that nobody gives back marks it, for all sweeps of all hosts."""
        now = time.monotonic()
        if now - self._looked_at < self._interval / LOOKS:
            return
        self._looked_at = now
        for node in self._deletable():
            owner, marker = new_id(), f"reclaim-interval:{node.id}"
            if not self._catalogue.leases.acquire(marker, owner, self._interval):
                continue
            try:
                self._queue.publish(TaskName.RECLAIM, [node.id])
            except QueueUnavailable:
                self._catalogue.leases.release(marker, owner)
                raise
            self._catalogue.last_ends.wait_for({Actor.RECLAIM: True})

    def _deletable(self) -> Sequence[Node]:
        return [node for node in self._catalogue.nodes.all() if node.deletable_from and node.readable]

    def unbury(self) -> int:
        return self._catalogue.orphans.unbury(TOMBSTONE_SECONDS, TOMBSTONES)
