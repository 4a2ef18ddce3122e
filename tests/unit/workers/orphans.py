"""Blobs that no row refers to, and a job that is to remove them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from common.model.jobs import Job, JobKind, Scope
from common.model.names import blob_name, new_id
from tests.unit.workers.rig import Rig

OLD, YOUNG = 7200, 60
NODE = 1


def leave(rig: Rig, node: str, count: int = 1, age: float = OLD) -> list[str]:
    """Blobs on a node that no row refers to."""
    ids = [new_id() for _ in range(count)]
    for blob_id in ids:
        rig.nodes.stores[node].blobs[blob_name(blob_id)] = b"lost", time.time() - age
    return ids


def left(rig: Rig, node: str, ids: Sequence[str]) -> int:
    return sum(blob_name(blob_id) in rig.nodes.stores[node].blobs for blob_id in ids)


def run(rig: Rig, dry_run: bool = False, force: bool = False, scope: Scope | None = None) -> Job:
    job = rig.catalogue.jobs.create(JobKind.RECLAIM, scope or Scope(node="node2"), dry_run, force)
    rig.worker.run_job(job.id)
    return rig.catalogue.jobs.get(job.id)


def age_all(rig: Rig) -> None:
    """Let everything on the nodes have been there for long."""
    for store in rig.nodes.stores.values():
        store.blobs = {name: (data, time.time() - OLD) for name, (data, _) in store.blobs.items()}
