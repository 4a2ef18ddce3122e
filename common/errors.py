"""Every error that crosses a module border, in one tree.

Callers ask two questions: *what kind is it* (the class) and *is it worth trying again* (`retryable`). Driver
exceptions (SQLAlchemy, http.client, redis) stop at their adapter and become one of these. HTTP statuses live in
`api/http/problems.py` and nowhere else. Messages are shown to users: no key, credential, path of the server or stack in
them.
"""

from __future__ import annotations


class BovedaError(Exception):
    """Base of all. `detail` is one sentence for the user."""

    retryable = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


# -- what the caller asked for cannot be


class Malformed(BovedaError):
    """Cannot be parsed. `field` names the header, parameter or JSON member."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field


class NotAllowed(BovedaError):
    """Parsed, and against a rule. `field` names the header, parameter or JSON member."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field


class NotFound(BovedaError):
    """Base: nothing is there under that name or id."""


class NoSuchBucket(NotFound):
    pass


class NoSuchObject(NotFound):
    pass


class NoSuchNode(NotFound):
    pass


class NoSuchJob(NotFound):
    pass


class NoSuchDeadLetter(NotFound):
    pass


class NoSuchUpload(NotFound):
    pass


class UploadGone(BovedaError):
    """An upload over several requests expired or was ended."""


class Conflict(BovedaError):
    """The present state forbids it (a bucket that is not empty, a node that is not safe to remove)."""


class PreconditionFailed(BovedaError):
    """An If-… header does not hold, before the body or inside the commit."""


class NotModified(BovedaError):
    """A conditional read whose answer is 304."""


class RangeNotSatisfiable(BovedaError):
    def __init__(self, size: int) -> None:
        super().__init__(f"the object has {size} bytes; the range starts behind its end")
        self.size = size


class Unauthenticated(BovedaError):
    pass


class Forbidden(BovedaError):
    pass


class BodyCut(BovedaError):
    """The body ended before the announced length."""


class BodyTimeout(BovedaError):
    """The client stopped sending, or sends too slowly."""


class DigestMismatch(BovedaError):
    """The body does not have the announced digest."""


class ChecksumMismatch(BovedaError):
    """The same of one request of an upload over several; nothing of that request is kept."""


class UnsupportedMedia(BovedaError):
    """The body is of a type that is not taken here."""


class UnsupportedVersion(BovedaError):
    """The client does not speak the version of a protocol that is spoken here."""


class TooLarge(BovedaError):
    pass


class QuotaUsedUp(BovedaError):
    pass


# -- it could be done, but not now


class Unavailable(BovedaError):
    """Try again in `retry_after` seconds."""

    retryable = True

    def __init__(self, detail: str, retry_after: int = 2) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class NotEnoughNodes(Unavailable):
    """Fewer nodes took the blob than `write_copies`."""


class CopiesUnreachable(Unavailable):
    """No good copy was found, and at least one could not be asked."""


class CatalogueUnavailable(Unavailable):
    """The database cannot be reached, is locked, or kept failing to serialise."""


class QueueUnavailable(Unavailable):
    """Redis did not take a message. Never raised to a client: the sweep finds what was lost."""


class KeysUnavailable(Unavailable):
    """No usable keyring: lists and health work, data does not."""


class UploadSuperseded(Unavailable):
    """The upload expired, or its blob id was reclaimed, before it could be committed."""


class UploadLocked(Unavailable):
    """Where an upload over several requests stands cannot be told now. Its own status: at a 503 some tus clients give
    the upload up and send everything again (tus-js-client 4.3.1), at this one they ask again."""


class ObjectDamaged(BovedaError):
    """Every wanted copy of a blob was looked at, and each is absent or wrong."""


class OutcomeUnknown(BovedaError):
    """COMMIT was sent and its answer lost; the database could not say within 5 s what became of it."""


# -- configuration and keys


class ConfigurationError(BovedaError):
    """Settings, files or the environment are wrong. The message says what to do."""


class KeyringError(BovedaError):
    """The keyring file is absent, cannot be opened with this passphrase, or is malformed."""


class KeyringBusy(KeyringError):
    """The keyring could not be opened now, for a reason that passes: no descriptor, no memory, a disk's error."""


# -- cryptography


class IntegrityError(BovedaError):
    """Bytes are not what was sealed: commitment, tag, order or length is wrong."""


# -- blob stores


class BlobStoreError(BovedaError):
    """Base of what a node can answer. `kind` goes into the copy row."""

    kind = "node"


class BlobMissing(BlobStoreError):
    """The node answered, and has no blob of that name."""

    kind = "missing"


class BlobTooLong(BlobStoreError):
    """The node has more bytes under the name than it may: evidence about the copy, like wrong bytes. None were read."""

    kind = "wrong"


class CallCut(BlobStoreError):
    """The caller ended the call, because it has what it wanted from elsewhere. Evidence about nothing."""


class NodeError(BlobStoreError):
    """Evidence about the node: refused, reset, cut, 5xx, timed out.

    `answered`: the node took the request and failed at it (5xx, or an answer that broke off). Rot on its own disk looks
    the same, so this may be evidence about the one blob: a read of another name tells.
    """

    kind = "node"
    retryable = True

    def __init__(self, detail: str, answered: bool = False) -> None:
        super().__init__(detail)
        self.answered = answered


class NodeTimeout(NodeError):
    """The call's deadline passed."""


class NodeBusy(NodeError):
    """Not asked at all: the node's breaker is open or its share of threads is used up."""


class NodeReadOnly(NodeError):
    """The node is full or refuses writes (507, XMinioStorageFull, a read-only disk)."""


class NodeRefused(BlobStoreError):
    """A 4xx other than 404: wrong credentials, no bucket, malformed. Trying again soon will not help."""

    kind = "refused"


class BucketMissing(NodeRefused):
    """The node answers and has no such bucket: a wiped or a changed disk, or one not set up yet."""
