"""S3's documents and errors as ours. Pure: bytes in, values or errors out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from xml.etree import ElementTree

from common.blobstore.base import BlobInfo, Page
from common.errors import BlobMissing, BlobStoreError, BucketMissing, NodeError, NodeReadOnly, NodeRefused

DOCUMENT_MAX = 4 << 20  # a listing of 1,000 of the longest names stays below
_FULL = frozenset(
    {"XMinioStorageFull", "XMinioDiskFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "QuotaExceeded"}
)
# MinIO on a full or read-only disk says InternalError and, as its cause, the operating system's words.
_FULL_CAUSE = re.compile(
    rb"no space left on device|read-only file system|disk quota exceeded|no writable volumes", re.I
)
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")


def failure(method: str, status: int, body: bytes) -> BlobStoreError:
    """The error an answer that is no success stands for. Only the node's code is quoted, never its prose."""
    found = _CODE.search(body)
    code = found[1].decode() if found else ""
    words = f"the node answered {status}{' ' + code if code else ''}"
    if method != "GET" and status == 403 and code == "AccessDenied":  # right credentials: MinIO on a read-only disk
        return NodeReadOnly(words)
    if status == 507 or code in _FULL or (status >= 500 and _FULL_CAUSE.search(body)):
        return NodeReadOnly(words)
    if status >= 500 or status in (408, 429) or code in ("RequestTimeout", "SlowDown"):
        return NodeError(words, answered=status >= 500)
    if status == 416 or (status == 404 and (code == "NoSuchKey" or method == "HEAD")):
        return BlobMissing("the blob ends before the range asked for" if status == 416 else "the node has no such blob")
    return BucketMissing(words) if code == "NoSuchBucket" else NodeRefused(words)


def page(document: bytes) -> Page:
    """ListObjectsV2's answer. The next page starts after the last name, so no token of the node is needed."""
    root = _parse(document, "ListBucketResult")
    try:
        blobs = [
            BlobInfo(
                _text(item, "Key"),
                int(_text(item, "Size")),
                datetime.fromisoformat(_text(item, "LastModified")).timestamp(),
            )
            for item in root.findall("{*}Contents")
        ]
    except ValueError:
        raise NodeError("the node's listing is malformed") from None
    more = (root.findtext("{*}IsTruncated") or "").strip() == "true"
    return Page(blobs, blobs[-1].name if more and blobs else None)


def delete_errors(document: bytes) -> Mapping[str, str]:
    """DeleteObjects' answer: the names that failed with the node's code; one that was not there did not fail."""
    root = _parse(document, "DeleteResult")
    errors = {_text(item, "Key"): item.findtext("{*}Code") or "Error" for item in root.findall("{*}Error")}
    return {name: code for name, code in errors.items() if code != "NoSuchKey"}


def bucket_configuration(region: str) -> bytes:
    """CreateBucket's body; us-east-1 is the one region that must not be named."""
    if region in ("", "us-east-1"):
        return b""
    constraint = f"<LocationConstraint>{region}</LocationConstraint>"
    return f"<CreateBucketConfiguration>{constraint}</CreateBucketConfiguration>".encode()


def _parse(document: bytes, kind: str) -> ElementTree.Element:
    """A document whose root is `kind`: an <Error> that comes with 200 is a failure, not an empty answer.

    Documents are bounded in size; one that declares types (the way to blow up a parser) is refused.
    """
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise NodeError("the node's answer declares a document type")
    try:
        root = ElementTree.fromstring(document)  # noqa: S314
    except ElementTree.ParseError:
        raise NodeError("the node's answer is not XML") from None
    if root.tag.rpartition("}")[2] != kind:
        raise NodeError(f"the node's answer is no {kind}")
    return root


def _text(item: ElementTree.Element, tag: str) -> str:
    text = item.findtext("{*}" + tag)
    if not text:
        raise NodeError(f"the node's answer lacks {tag}")
    return text
