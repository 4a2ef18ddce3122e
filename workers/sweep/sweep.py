"""Find what is not as the catalogue wants it, and hand it to the queue. It could do without the queue's memory.

One sweep acts at a time (lease `sweep`), for a bounded time. Its steps, each on its own: one that fails does not stop
the others, and its error is raised at the end.

1. Leases that ended without an end: back-off, or a dead letter.
2. Uploads that expired are doomed; copies of versions doomed long enough follow; rows nothing points to are forgotten.
3. Rows without a node get the next in placement order that takes new copies.
4. Nodes that came back: the rows that waited for them are due.
5. Copies that should lie elsewhere are moved (see `relocating`).
6. Due rows are stamped and published, oldest first; the stamp goes again if Redis did not take them. Nothing for nodes
   that do not take the work.
7. Open jobs whose worker is gone are published again.
8. What nodes that came back are still owed is looked at, to be shown (`recovery_time`).
9. Nodes are sent for to be scrubbed and reclaimed, when that is due; tombstones that are a day old are dropped.
10. What writers noted of the totals is folded.
11. What the others are waited for is written down (`awaiting`), and that this pass came to its end, whatever failed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from common.catalogue.base import Catalogue
from common.catalogue.copies import DuePlace, Reach
from common.errors import QueueUnavailable
from common.model.actors import Actor
from common.model.jobs import JobKind, job_lease
from common.model.names import new_id
from common.model.nodes import NodeMode
from common.model.work import CopyAction, Outcome
from common.queue.base import QUEUE_LIMIT, QUEUE_OF, TASK_OF, JobQueue, TaskName
from common.settings import Settings
from workers.copies.retry import LAPSED, after_lapse
from workers.copies.targets import taking
from workers.sweep.assigning import Assigning
from workers.sweep.awaiting import Awaiting
from workers.sweep.batches import batches
from workers.sweep.recovery_time import RecoveryTimes
from workers.sweep.relocating import Relocating
from workers.sweep.schedule import TOMBSTONES, Schedule

PASS_SECONDS: Final = 10.0
LEASE_SECONDS: Final = 20.0
ROWS_A_PAGE: Final = 1000
PAGES_A_PASS: Final = 20
LEASE_NAME: Final = "sweep"

# Jobs that need a key run in the API processes, never here.
IN_WORKERS: Final = frozenset(JobKind) - {JobKind.REWRAP}


class Sweep:
    def __init__(
        self, catalogue: Catalogue, queue: JobQueue, settings: Settings, seconds: float = PASS_SECONDS
    ) -> None:
        self._catalogue = catalogue
        self._queue = queue
        self._settings = settings
        self._seconds = seconds
        self._until = 0.0
        self._jobs_published: dict[str, float] = {}
        self._places: dict[tuple[CopyAction, str], DuePlace] = {}
        self._assign = Assigning(catalogue, self._in_time)
        self._move = Relocating(catalogue, queue, settings, self._in_time)
        self._recovery_times = RecoveryTimes(catalogue)
        self._schedule = Schedule(catalogue, queue, settings)
        self._await = Awaiting(catalogue, settings)

    def asked(self) -> None:
        """What a message asks for: a pass, unless one ended just now. However many messages wait, they are soon gone.

        Both times are the catalogue's. One that lies ahead, of a clock that was set back since, keeps no pass away.
        """
        ended = self._catalogue.last_ends.all()[Actor.SWEEP].ended_at
        if ended is None or not 0 <= self._catalogue.now() - ended < self._settings.sweep_interval / 2:
            self()

    def __call__(self) -> None:
        """One pass; nothing while another one acts. An ExceptionGroup of what the steps raised."""
        # A name of its own for each pass: two threads of one process must not both hold the lease.
        owner = f"sweep-{new_id()}"
        if not self._catalogue.leases.acquire(LEASE_NAME, owner, LEASE_SECONDS):
            return
        self._until = time.monotonic() + self._seconds
        errors: list[Exception] = []
        try:
            for step in self._steps():
                try:
                    step()
                except Exception as error:  # noqa: BLE001 - every step has its turn; all errors are raised below
                    errors.append(error)
        finally:
            self._catalogue.leases.release(LEASE_NAME, owner)
        if errors:
            raise ExceptionGroup("steps of the sweep failed", errors)

    def _steps(self) -> Iterable[Callable[[], None]]:
        return (
            self._expire_leases,
            self._expire_uploads,
            self._doom_copies,
            self._forget,
            self._assign,
            self._wake,
            self._move,
            self._enqueue,
            self._jobs,
            self._recovery_times,
            self._schedule.scrub,
            self._schedule.reclaim,
            self._unbury,
            self._fold_totals,
            self._await,
            lambda: self._catalogue.last_ends.ended(Actor.SWEEP),
        )

    def _in_time(self) -> bool:
        return time.monotonic() < self._until

    # -- 1, 2

    def _expire_leases(self) -> None:
        while claims := self._catalogue.copies.expire_leases():
            now = self._catalogue.now()
            outcomes = []
            for claim in claims:
                decision = after_lapse(claim.failures, self._settings.backoff_base, random.random())  # noqa: S311
                outcomes.append(
                    Outcome(
                        claim.copy_id,
                        claim.fence,
                        claim.state,
                        error="the worker's lease ended without an end",
                        kind=LAPSED,
                        failures=decision.failures,
                        next_attempt_at=now + decision.delay,
                        dead=decision.dead,
                    )
                )
            self._catalogue.copies.end(outcomes)
            if not self._in_time():
                return

    def _expire_uploads(self) -> None:
        self._repeat(lambda: self._catalogue.objects.expire_uploads(100), 100)
        self._repeat(lambda: self._catalogue.uploads.forget(self._settings.upload_expiry, 1000), 1000)

    def _doom_copies(self) -> None:
        self._repeat(lambda: self._catalogue.objects.doom_copies(self._settings.doom_delay, 1000), 1000)

    def _forget(self) -> None:
        self._repeat(lambda: self._catalogue.objects.forget(300), 300)

    def _unbury(self) -> None:
        self._repeat(self._schedule.unbury, TOMBSTONES)

    def _fold_totals(self) -> None:
        self._repeat(lambda: self._catalogue.fold_totals(500), 500)

    def _repeat(self, step: Callable[[], int], limit: int) -> None:
        while step() >= limit and self._in_time():
            pass

    # -- 4

    def _wake(self) -> None:
        returned = self._catalogue.nodes.returned()
        if not returned:
            return
        since = {node.id: node.since for node in self._catalogue.nodes.all()}
        for node_id, was_away in returned.items():
            after: int | None = 0
            while after is not None and self._in_time():
                after = self._catalogue.copies.wake(node_id, after, letters=was_away)
            if after is None and node_id in since:
                self._catalogue.nodes.woken(node_id, since[node_id])

    # -- 6

    def _enqueue(self) -> None:
        nodes = self._catalogue.nodes.all()
        sources = Reach(
            {node.id for node in nodes if node.readable},
            {node.id for node in nodes if not node.readable and node.mode is not NodeMode.RETIRED},
        )
        depths = self._queue.depths()
        for action, task in TASK_OF.items():
            room = QUEUE_LIMIT + 1 - depths.get(QUEUE_OF[task].value, 0)
            published: set[str] = set()
            targets = sorted(taking(nodes, action))
            for left, node_id in zip(range(len(targets), 0, -1), targets, strict=True):
                # An even share of the room; what a node does not need goes to those behind it.
                share = -(-room // left)
                for rows in self._due(action, node_id, sources) if share > 0 else ():
                    count = self._publish(task, rows, published, share)
                    room, share = room - count, share - count
                    if share <= 0:
                        break

    def _due(self, action: CopyAction, node_id: str, sources: Reach) -> Iterator[Sequence[tuple[int, str, int]]]:
        """Pages of a node's due rows, so many a pass. Behind more parked ones than that, the next pass goes on."""
        before = self._catalogue.now() - self._settings.repeat_seconds
        place = self._places.pop((action, node_id), None)
        for _ in range(PAGES_A_PASS):
            if not self._in_time():
                break
            rows, place = self._catalogue.copies.due(action, node_id, sources, before, place, ROWS_A_PAGE)
            yield rows
            if place is None:
                return
        if place is not None:
            self._places[action, node_id] = place

    def _publish(self, task: TaskName, rows: Sequence[tuple[int, str, int]], published: set[str], most: int) -> int:
        """Stamp and publish up to `most` messages; how many. A blob goes once, whatever its copies' number."""
        count = 0
        for batch in batches(rows):
            if count >= most or not self._in_time():
                break
            fresh = list(dict.fromkeys(blob_id for _, blob_id, _ in batch if blob_id not in published))
            copy_ids = [copy_id for copy_id, _, _ in batch]
            # Stamped first: a worker that does not take the work yet recalls it, and may be quicker than a later stamp.
            self._catalogue.copies.stamp(copy_ids, self._catalogue.now())
            if fresh:
                try:
                    self._queue.publish(task, fresh)
                except QueueUnavailable:
                    self._catalogue.copies.stamp(copy_ids, None)
                    raise
                count += 1
                published.update(fresh)
        return count

    # -- 7

    def _jobs(self) -> None:
        now, repeat = time.monotonic(), self._settings.repeat_seconds
        jobs = [job for job in self._catalogue.jobs.open() if job.kind in IN_WORKERS]
        self._jobs_published = {job.id: self._jobs_published.get(job.id, -repeat) for job in jobs}
        for job in jobs:
            if now - self._jobs_published[job.id] >= repeat and self._without_worker(job.id):
                self._queue.publish(TaskName.JOB, [job.id])
                self._jobs_published[job.id] = now

    def _without_worker(self, job_id: str) -> bool:
        owner = f"sweep-{new_id()}"
        if not self._catalogue.leases.acquire(job_lease(job_id), owner, 1.0):
            return False
        self._catalogue.leases.release(job_lease(job_id), owner)
        return True
