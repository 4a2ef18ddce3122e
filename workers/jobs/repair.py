"""The repair job: every wanted copy in a scope is read whole; what is missing or damaged is made again.

For each page of blobs, in order of (bucket, key, number):
1. Read every copy on a readable node and compare it: the counts `before`.
2. Unless it is a dry run, make the bad ones due and repair them here, with the code the workers use.
3. Read the bad ones again: the counts `after`. What another worker holds meanwhile is waited for, but not for long.
4. Checkpoint: cursor and report; a job that was cancelled, or whose worker stops, ends here. A killed worker's job is
   found by the sweep and goes on from its cursor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from common.catalogue.base import Catalogue
from common.model.copies import CopyState
from common.model.jobs import Job
from common.model.versions import Blob, StoredBlob
from common.model.work import CopyAction
from common.nodes.watched_nodes import WatchedNodes
from workers.copies.check import BAD, FINDINGS, GOOD, UNREACHABLE, CopyCheck
from workers.copies.targets import takes
from workers.jobs.run_job import JobTurn
from workers.jobs.scope import Range, position

PAGE_BLOBS: Final = 50
CONVERGE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.25


def _zero() -> dict[str, int]:
    return dict.fromkeys(FINDINGS, 0)


@dataclass
class RepairReport:
    """Counts of copies. `unplaced`: wanted copies no node can hold yet; `unreachable` stands in before and after."""

    before: dict[str, int] = field(default_factory=_zero)
    after: dict[str, int] = field(default_factory=_zero)
    repaired: int = 0
    unreachable: int = 0
    unplaced: int = 0
    blobs: int = 0
    bytes: int = 0

    @classmethod
    def resumed(cls, stored: Mapping[str, Any]) -> RepairReport:
        return cls(**stored) if stored else cls()


class Repair:
    def __init__(
        self,
        catalogue: Catalogue,
        nodes: WatchedNodes,
        check_copy: CopyCheck,
        actions: Sequence[Callable[[Sequence[str]], int]],
        converge: float = CONVERGE_SECONDS,
    ) -> None:
        """`actions`: what makes suspect and missing copies true, given blob ids: verify, then replicate."""
        self._catalogue = catalogue
        self._nodes = nodes
        self._check_copy = check_copy
        self._actions = actions
        self._converge = converge

    def __call__(self, job: Job, going: JobTurn) -> None:
        """Run or resume until it ends, is cancelled, or `going` says that this process must leave it."""
        within = Range.of(job, self._catalogue, self._nodes)
        report = RepairReport.resumed(job.report)
        total = job.total or within.count(self._catalogue)
        after = position(job.cursor)
        while going():
            page = self._catalogue.copies.wanted(within.bucket_id, within.prefix, within.key, after, PAGE_BLOBS)
            if not page:
                going.finish(asdict(report))
                return
            for at, stored in page:
                if not going():
                    break
                self._blob(stored, within.nodes, job.dry_run, report)
                after = at
            cursor = {"after": list(after)} if after else None
            if not going.progress(report.blobs, max(total, report.blobs), report.bytes, asdict(report), cursor):
                return

    # -- one blob

    def _blob(self, stored: StoredBlob, only: Collection[str], dry_run: bool, report: RepairReport) -> None:
        wanted = list(stored.copies)
        placed = [copy for copy in wanted if copy.node_id in only]
        before = {
            copy.node_id: self._check_copy(copy.node_id, stored.blob, copy.alias).kind
            for copy in placed
            if copy.node_id is not None
        }
        bad = [node_id for node_id, finding in before.items() if finding in BAD]
        # A right copy under a row that is not `stored` is work too: the row has to say so.
        untrue = [copy.node_id for copy in placed if copy.node_id and copy.state is not CopyState.STORED]
        after = before
        if (bad or untrue) and not dry_run:
            after = before | self._repair(stored, bad, {*bad, *untrue})
        report.blobs += 1
        report.bytes += stored.blob.cipher_length * sum(1 for finding in before.values() if finding == GOOD)
        report.unplaced += sum(1 for copy in wanted if copy.node_id is None)
        report.unreachable += sum(1 for finding in before.values() if finding == UNREACHABLE)
        report.repaired += sum(1 for node_id in bad if after[node_id] == GOOD)
        for finding in before.values():
            report.before[finding] += 1
        for finding in after.values():
            report.after[finding] += 1

    def _repair(self, stored: StoredBlob, bad: Sequence[str], due: Collection[str]) -> dict[str, str]:
        blob_id = stored.blob.id
        self._catalogue.copies.queue_repair(blob_id, due)
        left = self._workable(stored, due)
        until = time.monotonic() + self._converge
        while True:
            left -= sum(action([blob_id]) for action in self._actions)
            after = self._found(stored.blob, bad)
            # Rows that were not to be claimed here are in another worker's hands: worth waiting for.
            if left <= 0 or time.monotonic() > until or not any(finding in BAD for finding in after.values()):
                return after
            time.sleep(POLL_SECONDS)

    def _found(self, blob: Blob, node_ids: Sequence[str]) -> dict[str, str]:
        """Read again where the rows say now: a copy may lie under another name since it was repaired."""
        alias = {row.node_id: row.alias for copies in self._catalogue.relocations.of([blob.id]) for row in copies.rows}
        return {node_id: self._check_copy(node_id, blob, alias.get(node_id)).kind for node_id in node_ids}

    def _workable(self, stored: StoredBlob, due: Collection[str]) -> int:
        """How many of these rows some worker will take now; the others are parked."""
        nodes = self._nodes.all()
        count = 0
        for copy in stored.copies:
            if copy.node_id is not None and copy.node_id in due and copy.node_id in nodes:
                action = CopyAction.REPLICATE if copy.state is CopyState.MISSING else CopyAction.VERIFY
                count += takes(nodes[copy.node_id], action)
        return count
