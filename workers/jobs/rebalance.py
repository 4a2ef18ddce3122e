"""The rebalance job: every copy in a scope lies in the end where placement would put it today.

For each page of blobs, in order of (bucket, key, number):

1. Make the copies and drop the surplus of the blobs that are on the way, here, with the code the workers use, until few
   are left. What another worker holds, or a node does not take now, is waited for, but not for long.
2. With too many left, or while the brake holds, the job is left here; the sweep publishes it again.
3. Plan the page's blobs, with a rebalance's wishes; the rows that are to be added are.
4. Checkpoint: cursor, report, and the blobs that are on the way.

What is still on the way at the end is finished by the sweep: the rows say all there is to know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from common.catalogue.base import Catalogue
from common.model.copies import CopyState
from common.model.jobs import Job
from common.model.relocation import BlobCopies, Relocation
from common.nodes.watched_nodes import WatchedNodes
from common.settings import Settings
from workers.copies.policy import Plan, Scene, plan, unplaced
from workers.jobs.run_job import JobTurn
from workers.jobs.scope import Position, Range, position

PAGE_BLOBS: Final = 50
# No page is begun with more than so many; a page adds about as many again.
OUTSTANDING_ROWS: Final = 100
CONVERGE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.25


@dataclass
class RebalanceReport:
    """Counts of blobs. moved: they lie where they belong (in a dry run: they would be moved). waiting: on the way.
    unplaced: no node can take all of their copies."""

    examined: int = 0
    moved: int = 0
    waiting: int = 0
    unplaced: int = 0


@dataclass
class _Run:
    """One turn at the job. waiting: blobs on the way, with the rows that were added for each."""

    job: Job
    scope: Range
    after: Position | None
    report: RebalanceReport
    waiting: dict[str, int] = field(default_factory=dict)
    bytes: int = 0

    @property
    def outstanding(self) -> int:
        """Rows to be made, or to go."""
        return sum(max(1, rows) for rows in self.waiting.values())


class Rebalance:
    def __init__(
        self,
        catalogue: Catalogue,
        nodes: WatchedNodes,
        actions: Sequence[Callable[[Sequence[str]], int]],
        settings: Settings,
    ) -> None:
        """`actions`: what finishes a move, given blob ids: replicate, then drop what is surplus."""
        self._catalogue = catalogue
        self._nodes = nodes
        self._actions = actions
        self._reprotect_after = settings.reprotect_after

    def __call__(self, job: Job, going: JobTurn) -> None:
        """Run or resume until it ends, is cancelled, or this turn must leave it."""
        run = self._resumed(job)
        total = job.total or run.scope.count(self._catalogue)
        while going():
            self._converge(run, going, OUTSTANDING_ROWS // 2)
            if run.outstanding > OUTSTANDING_ROWS or (self._scene().braked and not job.dry_run):
                self._checkpoint(run, going, total)
                return
            page = self._page(run)
            if not page:
                self._converge(run, going, 0)
                run.report.waiting = len(run.waiting)
                going.finish(asdict(run.report))
                return
            self._examine(run, [copies for _, copies in page])
            run.after = page[-1][0]
            if not self._checkpoint(run, going, total):
                return

    def _checkpoint(self, run: _Run, going: JobTurn, total: int) -> bool:
        run.report.waiting = len(run.waiting)
        cursor = {"after": list(run.after) if run.after else None, "waiting": run.waiting}
        done = run.report.examined
        return going.progress(done, max(total, done), run.bytes, asdict(run.report), cursor)

    def _resumed(self, job: Job) -> _Run:
        report = RebalanceReport(**job.report) if job.report else RebalanceReport()  # type: ignore[arg-type]
        run = _Run(job, Range.of(job, self._catalogue, self._nodes), position(job.cursor), report, bytes=job.bytes)
        waiting = (job.cursor or {}).get("waiting")
        if isinstance(waiting, dict):
            run.waiting.update(waiting)
        return run

    def _scene(self) -> Scene:
        return Scene.of(self._catalogue.nodes.all(), self._catalogue.now(), self._reprotect_after)

    def _page(self, run: _Run) -> Sequence[tuple[Position, BlobCopies | None]]:
        """The next blobs in scope; None for one whose version is gone since."""
        scope = run.scope
        page = self._catalogue.copies.wanted(scope.bucket_id, scope.prefix, scope.key, run.after, PAGE_BLOBS)
        found = {
            copies.blob.id: copies for copies in self._catalogue.relocations.of([item.blob.id for _, item in page])
        }
        return [(place, found.get(item.blob.id)) for place, item in page]

    def _examine(self, run: _Run, page: Sequence[BlobCopies | None]) -> None:
        scene = self._scene()
        moves: list[Relocation] = []
        for copies in page:
            run.report.examined += 1
            decision = plan(copies, scene, rebalance=True) if copies else Plan()
            if copies is None or not _concerned(run, copies, decision):
                continue
            run.report.unplaced += unplaced(copies, scene) > len(decision.move.add if decision.move else ())
            if run.job.dry_run:
                run.report.moved += decision != Plan()
            elif decision.move:
                moves.append(decision.move)
            elif decision != Plan():
                run.waiting[copies.blob.id] = 0
        made = self._catalogue.relocations.apply(moves)
        for move in moves:
            if move.copies.blob.id in made:
                run.waiting[move.copies.blob.id] = len(move.add)
                run.bytes += len(move.add) * move.copies.blob.cipher_length

    def _converge(self, run: _Run, going: JobTurn, outstanding: int) -> None:
        """Until no more than so many rows are outstanding, for a bounded time."""
        until = time.monotonic() + CONVERGE_SECONDS
        while run.outstanding > outstanding and going():
            for action in self._actions:
                action(list(run.waiting))
            self._strike(run)
            if run.outstanding <= outstanding or time.monotonic() > until:
                return
            time.sleep(POLL_SECONDS)

    def _strike(self, run: _Run) -> None:
        """Blobs that are finished, or gone, wait no more."""
        scene = self._scene()
        left = {copies.blob.id: copies for copies in self._catalogue.relocations.of(list(run.waiting))}
        for blob_id in list(run.waiting):
            copies = left.get(blob_id)
            if copies is None or plan(copies, scene, rebalance=True) == Plan():
                run.report.moved += copies is not None
                del run.waiting[blob_id]
            elif run.waiting[blob_id]:
                run.waiting[blob_id] = sum(row.state is CopyState.MISSING for row in copies.rows)


def _concerned(run: _Run, copies: BlobCopies, decision: Plan) -> bool:
    """Whether the blob has a copy on one of the scope's nodes, or is to get one there."""
    if run.job.scope.node is None:
        return True
    added = decision.move.add if decision.move else ()
    return any(node_id in run.scope.nodes for node_id in (*added, *(row.node_id for row in copies.rows)))
