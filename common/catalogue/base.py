"""The catalogue as a contract: few transactions, each named by its intent.

Every method is one transaction unless it says otherwise. CatalogueUnavailable: the database could not be reached, was
locked for over 2 s, or failed to serialise 10 times; nothing was changed. What is asked for through the API (a version,
a bucket, a job, a node's mode, a dead letter) is looked after for up to 5 s when the answer to its COMMIT is lost:
success, CatalogueUnavailable (surely not changed) or OutcomeUnknown; the rest is told as CatalogueUnavailable then, and
doing it again does no harm. Times are seconds since the epoch, by the database's clock (`now`). No transaction changes
more than 1,000 rows; methods with `limit` are called until they return less.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.actors import Actor, LastEnd
from common.catalogue.healing import Copies, DeadLetters, LockedNames, Orphans, Relocations, Scrubs
from common.catalogue.topology import Topology
from common.catalogue.uploads import Uploads
from common.objects import (
    Bucket,
    NewBlob,
    NewVersion,
    Node,
    NodeHealth,
    NodeSpec,
    Preconditions,
    Protection,
    StoredBlob,
    Version,
)
from common.work import CopyDetail, Job, JobKind, JobState, Scope


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did. `replaced`: there was a current version before, now doomed."""

    created_at: float
    replaced: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A current version with its first blobs and its protection."""

    version: Version
    blobs: Sequence[StoredBlob]
    protection: Protection


@dataclass(frozen=True, slots=True)
class Listing:
    """`objects` and `prefixes` in byte order. `next`: the value for `after` of the next page, None at the end."""

    objects: Sequence[tuple[Version, Protection]]
    prefixes: Sequence[str]
    next: str | None


@dataclass(frozen=True, slots=True)
class Totals:
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class NodeTotals:
    """`copies` stored or suspect on the node, `bytes` of ciphertext in them, `missing` ones wanted there."""

    copies: int
    bytes: int
    missing: int


@dataclass(frozen=True, slots=True)
class StatusCounts:
    """objects: how many in each shown state. oldest_unprotected: age in seconds of the oldest one not protected.
    dead_letters: those nobody acknowledged; dead_since: when the oldest of them became one. counted_at: when the
    objects were counted; the rest is of now.
    """

    objects: Mapping[str, int]
    copies_missing: int
    copies_suspect: int
    copies_doomed: int
    oldest_unprotected: float | None
    dead_letters: int
    dead_since: float | None
    jobs_open: int
    counted_at: float


class Buckets(Protocol):
    def put(self, name: str, copies: int | None, write_copies: int | None) -> tuple[Bucket, bool]:
        """Create (True) or change the settings (False); None keeps, or takes the default of a new one.

        NotAllowed where write_copies would exceed copies.
        """

    def get(self, name: str) -> Bucket:
        """NoSuchBucket."""

    def all(self) -> Sequence[Bucket]: ...

    def totals(self, bucket_id: str) -> Totals:
        """Of current objects. Exact; costs the same at any size."""

    def delete(self, name: str) -> None:
        """Free the name; uploads in progress into it are doomed. Conflict unless it has no current object."""


class Objects(Protocol):
    """Writing and reading versions. See `api/store_object.py` for the sequence and its commit point."""

    def begin(self, version_id: str, bucket_id: str, key: str, wanted: int, active_until: float) -> None:
        """Insert the `uploading` row of a body with more than one blob. NoSuchBucket if it was deleted meanwhile."""

    def add_blob(
        self, version_id: str, blob: NewBlob, stored: Collection[tuple[str, str]], active_until: float
    ) -> None:
        """Before a blob's put: write its row and its `missing` copy rows, and `stored` (blob, node) of earlier ones.

        A pair of `stored` without a row (a put that failed over to a node nobody wanted) takes the place of one of
        that blob's `missing` rows: one without a node if there is one, else the last inserted.
        UploadSuperseded unless the version is still `uploading`.
        """

    def touch(self, version_id: str, active_until: float) -> None:
        """Move the expiry. UploadSuperseded unless still `uploading`."""

    def commit(
        self,
        version: NewVersion,
        blobs: Sequence[NewBlob],
        preconditions: Preconditions,
        stored: Collection[tuple[str, str]] = (),
        uploading: bool = False,
    ) -> Committed:
        """The commit point. Makes the version current, inserts `blobs` with all wanted copies, dooms the replaced one.

        `uploading`: compare-and-set on the row `begin` made (UploadSuperseded if it is gone); its blobs are there
        already, `stored` marks the last ones as in `add_blob`. An upload over several requests
        is finished with it. NoSuchBucket if the bucket was deleted,
        PreconditionFailed, KeysUnavailable if the KEK was retired, UploadSuperseded if a blob id is taken (a
        tombstone). A lost answer to COMMIT is looked after for up to 5 s: success, CatalogueUnavailable (surely not
        stored), or OutcomeUnknown.
        """

    def abandon(self, version_id: str) -> None:
        """Doom an `uploading` version whose request failed. Nothing happens if it is not `uploading`."""

    def find(self, bucket: str, key: str, blobs: int = 16) -> Found:
        """The current version with its first `blobs` blobs, in one statement. NoSuchBucket, NoSuchObject."""

    def blobs(self, version_id: str, first: int, limit: int = 16) -> Sequence[StoredBlob]:
        """Blobs `first`… of a version in order, of any state; fewer or none if the version is gone."""

    def is_current(self, version_id: str) -> bool: ...

    def list(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> Listing:
        """A page in byte order of keys; keys sharing prefix…delimiter fold into `prefixes`. NoSuchBucket."""

    def delete(self, bucket: str, key: str, preconditions: Preconditions) -> str:
        """Doom the current version and return its id.

        NoSuchBucket, NoSuchObject, PreconditionFailed, OutcomeUnknown.
        """

    def copies(self, bucket: str, key: str) -> tuple[Found, Sequence[CopyDetail]]:
        """Every copy row of the current version, by blob number and node."""

    # -- after a version's life

    def expire_uploads(self, limit: int = 100) -> int:
        """Doom `uploading` versions whose `active_until` is over (compare-and-set each); how many."""

    def doom_copies(self, doom_delay: float, limit: int = 1000) -> int:
        """Turn copies of versions doomed for `doom_delay` seconds to `doomed`; rows without a node go at once."""

    def forget(self, limit: int = 300) -> int:
        """Delete rows of doomed versions and blobs that have no copy row left; how many versions.

        A version whose upload never finished stays until `uploads.forget` no longer remembers that.
        """


class Nodes(Protocol):
    def all(self) -> Sequence[Node]: ...

    def register(self, specs: Sequence[NodeSpec]) -> None:
        """Insert names that are not there yet as `new`; a known name may have moved to another endpoint, where its
        identity shows that it is the same. Nothing else changes. Conflict: endpoint and bucket in use.
        """

    def totals(self) -> Mapping[str, NodeTotals]:
        """By node id. Exact; costs the same at any size."""

    def write_health(
        self,
        verdicts: Mapping[str, tuple[NodeHealth, float | None, str | None]],
        owner: str,
        unseen: Mapping[str, float] = ...,
    ) -> bool:
        """The holder of the `health` lease writes (health, last_seen, last_error); False if `owner` lost the lease.

        A change of health sets `since`; a node that is up again has its waiting rows made due (see `returned`).
        `unseen`: of nodes that do not show themselves, for how many seconds; 0 of those that do. It sets
        `unreachable_since`, by which nobody heals. What is not named stays.
        """

    def returned(self) -> Mapping[str, bool]:
        """Nodes that came up and whose waiting rows were not woken yet: id → whether it was down or foreign before.

        One that was but suspect is no return: what the work towards it ended in stays.
        """

    def woken(self, node_id: str, since: float) -> None:
        """The rows of that return are due. Nothing happens if its health changed since."""

    def set_identity(self, node_id: str, identity: str, epoch: int) -> None:
        """`new → known`, `known → foreign`, `foreign → known`; the epoch never goes down.

        A node that says more than one epoch more than its row does has seen a later catalogue than this one: nothing is
        reclaimed on it before a job says `force`. With `new → known` the catalogue's generation is noted as the one
        whose rows reclaim may trust there.
        """

    def taken_in(self, node_id: str, epoch: int) -> None:
        """An operator accepted it: `known`, of that epoch, and its scrub begins anew with a listing."""

    def set_writable(self, node_id: str, writable: bool) -> None:
        """What is written already stays since when it was."""

    def set_mode(self, name: str, mode: str, until: float | None) -> Node:
        """NoSuchNode; Conflict where it is retired and is not to become active."""

    def end_pause(self, node_id: str, until: float) -> bool:
        """paused → active, if it still is paused until that very time: an operator may have decided anew meanwhile."""

    def doubt(self, node_id: str, since: float | None = None, limit: int = 1000) -> int:
        """For a page of the rows on a node whose disk was, or may be, another one: how many, 0 when none is left.

        `stored → suspect`, with `since` only what was stored or verified from then on; and so are the `missing` rows of
        uploads in progress, which may have put that copy already. Rows that a worker holds are taken from it, and due.
        """

    def cluster(self) -> tuple[str, str]:
        """Cluster id and catalogue generation."""


class Jobs(Protocol):
    def create(self, kind: JobKind, scope: Scope, dry_run: bool, force: bool) -> Job: ...

    def get(self, job_id: str) -> Job:
        """NoSuchJob."""

    def all(self, limit: int = 200) -> Sequence[Job]: ...

    def open(self) -> Sequence[Job]:
        """Queued and running ones."""

    def start(self, job_id: str) -> Job | None:
        """queued or running → running; None if it has ended."""

    def progress(
        self,
        job_id: str,
        done: int,
        total: int,
        bytes: int,
        report: Mapping[str, object],
        cursor: Mapping[str, object] | None,
        holder: str | None = None,
    ) -> bool:
        """Checkpoint; False if the job was cancelled meanwhile, or `holder` no longer has its lease (`job_lease`)."""

    def finish(
        self,
        job_id: str,
        state: JobState,
        report: Mapping[str, object],
        error: str | None,
        holder: str | None = None,
    ) -> None:
        """Nothing happens if it has ended, or `holder` no longer has its lease."""

    def cancel(self, job_id: str) -> Job:
        """Conflict if it has ended."""

    def retry(self, job_id: str) -> Job:
        """failed or cancelled → queued, from its cursor; Conflict otherwise."""


class Leases(Protocol):
    def acquire(self, name: str, owner: str, seconds: float) -> bool:
        """Take or renew a named lease; False while another owner's is live."""

    def release(self, name: str, owner: str) -> None: ...


class LastEnds(Protocol):
    """Of those without whom the store does not heal (`common.actors`)."""

    def all(self) -> Mapping[Actor, LastEnd]:
        """Of every actor."""

    def ended(self, actor: Actor) -> None:
        """It came to an end just now, and is not waited for until somebody says so again."""

    def wait_for(self, actors: Mapping[Actor, bool]) -> None:
        """Whether each has something to do: since now if it had not yet, or not any more."""


class Keks(Protocol):
    def ensure(self, kek_id: str) -> None:
        """Insert a key as `active` if it is not there; other active ones become `readable`."""

    def states(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Token:
    id: str
    name: str
    scopes: tuple[str, ...]
    buckets: tuple[str, ...] | None
    expires_at: float | None


class Tokens(Protocol):
    def find(self, digest: str) -> Token | None:
        """A live token by the SHA-256 (hex) of its secret."""

    def ensure(self, name: str, digest: str, scopes: Sequence[str]) -> None:
        """Insert or replace the token of that name."""


class Catalogue(Protocol):
    """The whole of it. `ready` raises CatalogueUnavailable unless a statement runs and the schema is current."""

    @property
    def buckets(self) -> Buckets: ...

    @property
    def objects(self) -> Objects: ...

    @property
    def uploads(self) -> Uploads: ...

    @property
    def copies(self) -> Copies: ...

    @property
    def dead_letters(self) -> DeadLetters: ...

    @property
    def moves(self) -> Relocations: ...

    @property
    def scrubs(self) -> Scrubs: ...

    @property
    def orphans(self) -> Orphans: ...

    @property
    def locked_names(self) -> LockedNames: ...

    @property
    def nodes(self) -> Nodes: ...

    @property
    def topology(self) -> Topology: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def leases(self) -> Leases: ...

    @property
    def last_ends(self) -> LastEnds: ...

    @property
    def keks(self) -> Keks: ...

    @property
    def tokens(self) -> Tokens: ...

    def now(self) -> float: ...

    def ready(self) -> None: ...

    def status(self, kept: StatusCounts | None = None) -> StatusCounts:
        """With `kept`, objects are not counted again: that may be dear while a node is down."""

    def fold_totals(self, limit: int = 500) -> int:
        """Add up what writers noted beside the totals, `limit` rows of each table; how many. No total changes."""

    def close(self) -> None: ...
