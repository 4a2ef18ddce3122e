"""S3's documents, times and errors as ours. Pure: bytes in, values or BlobStoreErrors out, whatever the bytes are.

A node is not trusted: every number and name of it is compared with what it may be before it is used.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from xml.etree import ElementTree

from common.blobstore.base import BlobInfo, Page
from common.errors import BlobMissing, BlobStoreError, BucketMissing, NodeError, NodeReadOnly, NodeRefused

DOCUMENT_MAX = 4 << 20  # a listing of 1,000 of the longest names stays below
MARKS_MAX = 200_000  # "<" and "=" of a document, so of its elements and attributes; a listing of 1,000 has some 20,000
NAME_MAX = 1024  # bytes
CLOCKS_APART = 600.0  # seconds; S3 servers refuse signatures that are 900 s old or young
_FULL = frozenset(
    {"XMinioStorageFull", "XMinioDiskFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "QuotaExceeded"}
)
_CHANGED_ON_THE_WAY = frozenset({"BadDigest", "XAmzContentChecksumMismatch"})
# MinIO on a full or read-only disk says InternalError and, as its cause, the operating system's words.
_FULL_CAUSE = re.compile(
    rb"no space left on device|read-only file system|disk quota exceeded|no writable volumes", re.I
)
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_WORD = re.compile(r"[A-Za-z0-9.]{1,64}")
_SIZE = re.compile(r"[0-9]{1,15}")
_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/(?:[0-9]{1,15}|\*)")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_DATE = re.compile(r"[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MALFORMED = "the node's listing is malformed"


def failure(method: str, status: int, body: bytes, date: str | None = None, now: float = 0.0) -> BlobStoreError:
    """The error an answer that is no success stands for. Only the node's code is quoted, never its prose.

    `date`: the answer's header, `now`: our clock when it came. A signature is refused where the two are far apart.
    """
    found = _CODE.search(body)
    code = found[1].decode() if found else ""
    apart = _clocks_apart(date, now) if status == 403 else ""
    words = f"the node answered {status}{' ' + code if code else ''}{apart}"
    # With right credentials, and a clock that is right: MinIO on a read-only disk.
    if method != "GET" and status == 403 and code == "AccessDenied" and not apart:
        return NodeReadOnly(words)
    if status == 507 or code in _FULL or (status >= 500 and _FULL_CAUSE.search(body)):
        return NodeReadOnly(words)
    if code in _CHANGED_ON_THE_WAY:
        return NodeError("other bytes came to the node than were sent")
    if status >= 500 or status in (408, 429) or code in ("RequestTimeout", "SlowDown"):
        return NodeError(words, answered=status >= 500)
    if status == 416 or (status == 404 and (code == "NoSuchKey" or method == "HEAD")):
        return BlobMissing("the blob ends before the range asked for" if status == 416 else "the node has no such blob")
    return BucketMissing(words) if code == "NoSuchBucket" else NodeRefused(words)


def size(value: str | None) -> int:
    """Bytes, as in a header or a document."""
    if value is None or not _SIZE.fullmatch(value):
        raise NodeError("the node did not say how long the blob is")
    return int(value)


def check_range(header: str, offset: int, length: int | None, answered: int) -> None:
    """NodeError unless Content-Range tells of the range asked for, cut at the blob's end, and of as many bytes."""
    found = _RANGE.fullmatch(header)
    first, last = (int(found[1]), int(found[2])) if found else (-1, -1)
    if first != offset or answered < 1 or last - first + 1 != answered or (length is not None and answered > length):
        raise NodeError("the node did not answer with the range asked for", answered=True)


def _clocks_apart(date: str | None, now: float) -> str:
    """Nothing while the node's clock and ours agree well enough, or it does not tell the time."""
    try:
        ahead = now - http_date(date)
    except NodeError:
        return ""
    if abs(ahead) < CLOCKS_APART:
        return ""
    return f"; our clock is {abs(ahead) / 60:.0f} minutes {'ahead of' if ahead > 0 else 'behind'} the node's"


def http_date(value: str | None) -> float:
    """The one form of a date that RFC 9110 has servers write."""
    found = _DATE.fullmatch(value or "")
    try:
        if found is None or found[2] not in _MONTHS:
            raise ValueError
        day, year, hour, minute, second = (int(found[group]) for group in (1, 3, 4, 5, 6))
        return datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        raise NodeError("the node did not tell the time") from None


def page(document: bytes, prefix: str, after: str, limit: int) -> Page:
    """ListObjectsV2's answer. The next page starts after the last name, so no token of the node is needed.

    Each name has the prefix and comes behind the one before it, the first behind `after`: so a listing ends.
    """
    root = _parse(document, "ListBucketResult")
    blobs = [_listed(item) for item in root.findall("{*}Contents")]
    before = after
    for blob in blobs:
        if not blob.name.startswith(prefix) or blob.name <= before:
            raise NodeError("the node's listing has names that were not asked for, or not in their order")
        before = blob.name
    more = (root.findtext("{*}IsTruncated") or "").strip() == "true"
    if len(blobs) > limit or (more and not blobs):
        raise NodeError(_MALFORMED)
    return Page(blobs, before if more else None)


def _listed(item: ElementTree.Element) -> BlobInfo:
    name, modified = _text(item, "Key"), _text(item, "LastModified")
    if len(name.encode()) > NAME_MAX or not _TIME.fullmatch(modified):
        raise NodeError(_MALFORMED)
    try:
        return BlobInfo(name, size(_text(item, "Size")), datetime.fromisoformat(modified).timestamp())
    except ValueError:
        raise NodeError(_MALFORMED) from None


def delete_errors(document: bytes, names: Collection[str]) -> Mapping[str, str]:
    """DeleteObjects' answer: those of the names that failed with the node's code; one that was not there did not."""
    root = _parse(document, "DeleteResult")
    errors = {_text(item, "Key"): item.findtext("{*}Code") or "" for item in root.findall("{*}Error")}
    if not errors.keys() <= set(names):
        raise NodeError("the node's answer is about names that it was not asked to delete")
    return {name: code if _WORD.fullmatch(code) else "Error" for name, code in errors.items() if code != "NoSuchKey"}


def bucket_configuration(region: str) -> bytes:
    """CreateBucket's body; us-east-1 is the one region that must not be named."""
    if region in ("", "us-east-1"):
        return b""
    constraint = f"<LocationConstraint>{region}</LocationConstraint>"
    return f"<CreateBucketConfiguration>{constraint}</CreateBucketConfiguration>".encode()


def _parse(document: bytes, kind: str) -> ElementTree.Element:
    """A document whose root is `kind`: an <Error> that comes with 200 is a failure, not an empty answer.

    It is UTF-8, as S3 has it, and nothing else: in another encoding what is looked for here would not be seen. One that
    declares types (the way to blow up a parser), or has more elements or attributes than any answer needs, is refused.
    """
    try:
        text = document.decode()
    except UnicodeDecodeError:
        raise NodeError("the node's answer is not UTF-8") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise NodeError("the node's answer declares a document type")
    if text.count("<") + text.count("=") > MARKS_MAX:
        raise NodeError("the node's answer has too many parts")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314
    except (ElementTree.ParseError, ValueError):
        raise NodeError("the node's answer is not XML") from None
    if root.tag.rpartition("}")[2] != kind:
        raise NodeError(f"the node's answer is no {kind}")
    return root


def _text(item: ElementTree.Element, tag: str) -> str:
    text = item.findtext("{*}" + tag)
    if not text:
        raise NodeError(f"the node's answer lacks {tag}")
    return text
