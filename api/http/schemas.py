"""The documents of the contract as models: what OpenAPI shows, and what tests hold real answers against."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """RFC 9457, plus the request's id, and the field that is wrong where one is."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None


class CopyCounts(Document):
    """Wanted copies of each blob, and the least number of good ones."""

    wanted: int
    stored: int


class ObjectDocument(Document):
    bucket: str
    key: str
    version: str
    size: int
    etag: str
    content_type: str
    metadata: dict[str, str]
    created_at: str
    copies: CopyCounts
    state: Literal["replicating", "protected", "degraded", "unavailable"]


class ObjectList(Document):
    """`next` is the value for `after` of the next page."""

    objects: list[ObjectDocument]
    prefixes: list[str]
    next: str | None


class CopyDocument(Document):
    blob: int
    blob_key: str
    node: str | None
    state: Literal["missing", "stored", "suspect", "doomed"]
    stored_at: str | None
    verified_at: str | None
    attempts: int
    next_attempt_at: str | None
    last_error: str | None
    dead_at: str | None


class CopiesDocument(Document):
    object: ObjectDocument
    copies: list[CopyDocument]


class BucketDocument(Document):
    """`objects` and `bytes` only where one bucket is asked for."""

    name: str
    copies: int
    write_copies: int
    created_at: str
    objects: int | None = None
    bytes: int | None = None


class BucketList(Document):
    buckets: list[BucketDocument]


class PreviewDocument(Document):
    """`to`: how many copies each node would get; `unplaced` ones fit nowhere now. `estimated`: found by a sample."""

    copies: int
    bytes: int
    to: dict[str, int]
    unplaced: int
    estimated: bool


class ScrubDocument(Document):
    """`coverage` is 0 to 1; `reclaim_stopped` says why orphans are left where they are, null where they are not."""

    started_at: str | None
    finished_at: str | None
    passes: int
    coverage: float
    bytes: int
    missing: int
    damaged: int
    orphans: int
    reclaimed_at: str | None
    reclaim_stopped: str | None


class NodeDocument(Document):
    """`mode_until`: when a pause ends by itself. `unreachable_since`: when it showed itself last, null while it does;
    nodes that fail all at once are not `down` for it (`state` is `unreachable`). `locked_names`: how many names there
    were given up, because the node fails at them whatever is asked. `preview` only in the answer to a dry run."""

    name: str
    endpoint: str
    zone: str
    weight: float
    mode: Literal["active", "draining", "paused", "retired"]
    mode_until: str | None
    health: Literal["up", "suspect", "down", "foreign"]
    state: str
    writable: bool
    copies: int
    bytes: int
    missing: int
    last_seen: str | None
    last_error: str | None
    unreachable_since: str | None
    safe_to_remove: bool
    locked_names: int
    scrub: ScrubDocument
    preview: PreviewDocument | None = None


class NodeList(Document):
    nodes: list[NodeDocument]


class LockedNameDocument(Document):
    """A name at which a node fails whatever is asked; `since` it was given up."""

    name: str
    since: str
    error: str


class LockedNameList(Document):
    locked_names: list[LockedNameDocument]


class Lost(Document):
    """How many blobs have no other copy."""

    lost: int


class ObjectName(Document):
    bucket: str
    key: str


class LossDocument(Document):
    """`objects`: the first of those that would be unavailable."""

    unavailable: int
    at_one_copy: int
    objects: list[ObjectName]


class Progress(Document):
    done: int
    total: int
    bytes: int


class JobDocument(Document):
    id: str
    kind: str
    scope: dict[str, str]
    dry_run: bool
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: Progress
    report: dict[str, object]
    created_at: str
    finished_at: str | None
    error: str | None


class JobList(Document):
    jobs: list[JobDocument]


class FailureDocument(Document):
    error: str
    kind: str
    at: str


class DeadLetterDocument(Document):
    """`bucket` is null once it was deleted; `blob_key` is the blob's name on every node."""

    id: int
    bucket: str | None
    key: str
    blob: int
    blob_key: str
    node: str | None
    state: Literal["missing", "suspect", "doomed"]
    attempts: int
    dead_since: str
    first_error: FailureDocument | None
    last_error: FailureDocument | None


class DeadLetterList(Document):
    """`next` is the value for `after` of the next page."""

    dead_letters: list[DeadLetterDocument]
    next: str | None


class Retried(Document):
    """How many copies are tried again."""

    retried: int


class Alert(Document):
    name: str
    since: str | None
    detail: str


class LastEndDocument(Document):
    """`age`: seconds since `ended_at`, both null before the first end. `awaited_since`: since when there is something
    to do; for `sweep` and `health` there always is."""

    ended_at: str | None
    age: float | None
    awaited_since: str | None


class LastEndsDocument(Document):
    """When those without whom the store does not heal last came to an end: a pass of the sweep, a writing of the nodes'
    health, a run of the scrub or of reclaim over some node, a copy that became good."""

    sweep: LastEndDocument
    health: LastEndDocument
    scrub: LastEndDocument
    reclaim: LastEndDocument
    copies: LastEndDocument


class Status(Document):
    """`queues` is null while the queue cannot be asked; `oldest_unprotected` is an age in seconds. It and `objects` are
    as of `counted_at`, which is now unless a node of a large store is down; the rest is of now."""

    nodes: dict[str, int]
    objects: dict[str, int]
    copies: dict[str, int]
    oldest_unprotected: float | None
    counted_at: str
    queues: dict[str, int] | None
    dead_letters: int
    jobs_open: int
    last_ends: LastEndsDocument
    alerts: list[Alert]


class Ready(Document):
    status: str
    missing: list[str]


class Alive(Document):
    status: str


class Carga(Document):
    """The answer to `POST /cargar`."""

    mensaje: str
    archivo: str
    version: str
    copias: CopyCounts


class Eliminado(Document):
    mensaje: str
    archivo: str


class Fallo(Document):
    """An error of the short Spanish addresses."""

    error: str
