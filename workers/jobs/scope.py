"""A job's scope as values of the catalogue, shared by the jobs that read copies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from common.catalogue.base import Catalogue
from common.model.jobs import Job
from common.nodes.watched_nodes import WatchedNodes

Position = tuple[str, str, int]
COUNTED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Range:
    """Which blobs, and copies on which nodes."""

    bucket_id: str | None
    prefix: str
    key: str | None
    nodes: Collection[str]

    @classmethod
    def of(cls, job: Job, catalogue: Catalogue, nodes: WatchedNodes) -> Range:
        """NoSuchBucket."""
        scope = job.scope
        bucket_id = catalogue.buckets.get(scope.bucket).id if scope.bucket is not None else None
        ids = {node.id for node in nodes.all().values() if scope.node in (None, node.spec.name)}
        return cls(bucket_id, scope.prefix or "", scope.key, ids)

    def count(self, catalogue: Catalogue) -> int:
        """Blobs, in pages."""
        count, after = 0, None
        while page := catalogue.copies.wanted(self.bucket_id, self.prefix, self.key, after, COUNTED_AT_ONCE):
            count += len(page)
            after = page[-1][0]
        return count


def position(cursor: Mapping[str, object] | None) -> Position | None:
    """Where a checkpoint left off."""
    after = (cursor or {}).get("after")
    if not isinstance(after, list):
        return None
    bucket_id, key, number = after
    return str(bucket_id), str(key), int(number)
