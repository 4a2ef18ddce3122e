"""The scrub job: every copy in a scope is read now, by one thread that works half of the time. It finds, and never
repairs.

For each page of blobs, in order of (bucket, key, number):
1. Read every copy on the scope's nodes. Right: verified. Absent or wrong where it should be stored: suspect, and a
   worker is sent to look at it; unless it is a dry run, which only counts.
2. Checkpoint: what was verified, then report and cursor.

Clients beside it wait for its cores and the node's: so it rests behind each copy for as long as that took to read.
Without, a job reads twice as fast, and the p99 of reads beside it on two cores is three times what it is without a job.

Then, where the scope is whole nodes, those are listed: old names without a row are orphans.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from common.catalogue.base import Catalogue
from common.errors import BlobStoreError
from common.model.copies import CopyState
from common.model.jobs import Job
from common.model.scrubbing import NameStanding, StoredCopy
from common.nodes.watched_nodes import WatchedNodes
from common.queue.base import Enqueuer, TaskName
from workers.audit.listing import NodeListing
from workers.copies.check import BAD, FINDINGS, GOOD, CopyCheck, Finding
from workers.jobs.run_job import JobTurn
from workers.jobs.scope import Position, Range, position

PAGE_BLOBS: Final = 32
REST: Final = 1.0
"""Seconds of rest for each second of reading."""
LONGEST_REST: Final = 1.0
"""A node that tries for long at one copy is no load on anybody."""


@dataclass
class ScrubReport:
    """Counts of copies by finding. orphans: None where the scope is not whole nodes. eta_seconds: None at first."""

    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FINDINGS, 0))
    orphans: int | None = None
    blobs: int = 0
    bytes: int = 0
    bytes_per_second: int = 0
    eta_seconds: int | None = None

    @classmethod
    def resumed(cls, stored: dict[str, Any]) -> ScrubReport:
        if not stored:
            return cls()
        found = {finding: int(stored[finding]) for finding in FINDINGS}
        rest = {name: value for name, value in stored.items() if name not in FINDINGS}
        return cls(found=found, **rest)

    def document(self) -> dict[str, object]:
        flat = asdict(self)
        found = flat.pop("found")
        return {**found, **flat}


class ScrubJob:
    def __init__(
        self, catalogue: Catalogue, nodes: WatchedNodes, check_copy: CopyCheck, listing: NodeListing, enqueuer: Enqueuer
    ) -> None:
        self._catalogue = catalogue
        self._nodes = nodes
        self._check_copy = check_copy
        self._listing = listing
        self._enqueuer = enqueuer

    def __call__(self, job: Job, going: JobTurn) -> None:
        within = Range.of(job, self._catalogue, self._nodes)
        report = ScrubReport.resumed(dict(job.report))
        total = job.total or within.count(self._catalogue)
        after = position(job.cursor)
        speed = _Speed(report)
        while going():
            page = self._catalogue.scrubs.scope(within.bucket_id, within.prefix, within.key, after, PAGE_BLOBS)
            if page.last is None:
                break
            self._page(page.copies, within, job.dry_run, report)
            after = page.last
            speed.tell(report, total)
            if not self._checkpoint(going, report, total, after):
                return
        if not going():
            return
        if job.scope.bucket is None:
            report.orphans = self._orphans(within, going)
        if going():
            report.eta_seconds = 0
            going.finish(report.document())

    @staticmethod
    def _checkpoint(going: JobTurn, report: ScrubReport, total: int, after: Position) -> bool:
        cursor = {"after": list(after)}
        return going.progress(report.blobs, max(total, report.blobs), report.bytes, report.document(), cursor)

    def _page(self, blobs: Sequence[Sequence[StoredCopy]], within: Range, dry_run: bool, report: ScrubReport) -> None:
        right: list[tuple[int, int]] = []
        since = self._catalogue.now()  # a copy that is stored from now on was not proven by what is read here
        for copy in (copy for copies in blobs for copy in copies if copy.node_id in within.nodes):
            began = time.monotonic()
            finding = self._check_copy(copy.node_id, copy.blob, copy.alias)
            time.sleep(min(LONGEST_REST, REST * (time.monotonic() - began)))
            report.found[finding.kind] += 1
            if finding.kind == GOOD:
                report.bytes += copy.blob.cipher_length
                right.append((copy.copy_id, copy.fence))
            elif not dry_run:
                self._blame(copy, finding)
        report.blobs += len(blobs)
        if not dry_run:
            self._catalogue.scrubs.verified(right, since)

    def _blame(self, copy: StoredCopy, finding: Finding) -> None:
        if finding.kind not in BAD or copy.state is not CopyState.STORED:
            return
        if self._catalogue.copies.suspect(copy.blob.id, copy.node_id, finding.detail):
            self._enqueuer.enqueue(TaskName.VERIFY, [copy.blob.id])

    def _orphans(self, within: Range, going: JobTurn) -> int:
        """Of the nodes that can be listed now."""
        count = 0
        for node_id in sorted(set(within.nodes) & set(self._nodes.readable())):
            try:
                for names in self._listing.pages(node_id):
                    standings = self._catalogue.orphans.sort(node_id, names.old)
                    count += sum(1 for standing in standings.values() if standing is NameStanding.ORPHAN)
                    if not going():
                        return count
            except BlobStoreError:
                continue
        return count


class _Speed:
    """Of this run: what an earlier one did before it was broken off says nothing about now."""

    def __init__(self, report: ScrubReport) -> None:
        self._started = time.monotonic()
        self._blobs = report.blobs
        self._bytes = report.bytes

    def tell(self, report: ScrubReport, total: int) -> None:
        elapsed = max(time.monotonic() - self._started, 1e-6)
        report.bytes_per_second = int((report.bytes - self._bytes) / elapsed)
        done = report.blobs - self._blobs
        report.eta_seconds = int(max(0, total - report.blobs) * elapsed / done) if done else None
