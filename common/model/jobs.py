"""Jobs: what an operator asked for, and how far it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class JobKind(StrEnum):
    REPAIR = "repair"
    SCRUB = "scrub"
    REBALANCE = "rebalance"
    REWRAP = "rewrap"
    RECLAIM = "reclaim"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a job is about; None means "all of it"."""

    bucket: str | None = None
    prefix: str | None = None
    key: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """`cursor` is where a resumed run goes on; `report` and `cursor` are JSON values."""

    id: str
    kind: JobKind
    scope: Scope
    dry_run: bool
    force: bool
    state: JobState
    done: int
    total: int
    bytes: int
    report: Mapping[str, object]
    cursor: Mapping[str, object] | None
    error: str | None
    created_at: float
    finished_at: float | None


def job_lease(job_id: str) -> str:
    """The name of the lease under which a job runs: one worker at a time."""
    return f"job:{job_id}"
