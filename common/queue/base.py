"""The queue as a contract: ids go in, and may be lost, repeated or reordered. Nothing but latency depends on it.

`celery` carries messages through Redis; `memory` keeps them for tests. `buffered` takes publishing off the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from common.model.work import CopyAction

BATCH_IDS = 64
BATCH_BYTES = 16 << 20
# Messages waiting in a queue, beyond which the sweep adds none: the rows remember what there is to do.
QUEUE_LIMIT = 200


class Queue(StrEnum):
    REPLICATE = "replicate"
    REPAIR = "repair"
    DELETE = "delete"
    CONTROL = "control"
    SCRUB = "scrub"


class TaskName(StrEnum):
    """Names as Flower shows them."""

    REPLICATE = "boveda.replicate"  # blob ids
    VERIFY = "boveda.verify"  # blob ids
    DOUBT = "boveda.doubt"  # blob ids
    DELETE = "boveda.delete"  # blob ids
    DROP_SURPLUS = "boveda.drop_surplus"  # blob ids
    SWEEP = "boveda.sweep"  # no ids
    JOB = "boveda.job"  # one job id
    SCRUB = "boveda.scrub"  # one node id
    RECLAIM = "boveda.reclaim"  # one node id


QUEUE_OF = {
    TaskName.REPLICATE: Queue.REPLICATE,
    TaskName.VERIFY: Queue.REPAIR,
    TaskName.DOUBT: Queue.REPAIR,
    TaskName.DELETE: Queue.DELETE,
    TaskName.DROP_SURPLUS: Queue.REPAIR,
    TaskName.SWEEP: Queue.CONTROL,
    TaskName.JOB: Queue.REPAIR,
    TaskName.SCRUB: Queue.SCRUB,
    TaskName.RECLAIM: Queue.SCRUB,
}
TASK_OF = {
    CopyAction.REPLICATE: TaskName.REPLICATE,
    CopyAction.VERIFY: TaskName.VERIFY,
    CopyAction.DELETE: TaskName.DELETE,
}


class JobQueue(Protocol):
    def publish(self, task: TaskName, ids: Sequence[str]) -> None:
        """Hand over one message with up to BATCH_IDS ids. QueueUnavailable if Redis did not take it (it may have)."""

    def depths(self) -> dict[str, int]:
        """Messages waiting, by queue. QueueUnavailable if Redis cannot be asked."""


class Enqueuer(Protocol):
    """What a request sees: never waits, never raises."""

    def enqueue(self, task: TaskName, ids: Sequence[str]) -> None: ...
