from __future__ import annotations

import pytest

from common.blobstore.s3 import delete_errors, page
from common.errors import NodeError

S3 = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def test_names_that_failed_are_told_and_absent_ones_are_not() -> None:
    document = f"""<DeleteResult {S3}><Error><Key>a</Key><Code>AccessDenied</Code></Error>
        <Error><Key>b</Key><Code>NoSuchKey</Code></Error></DeleteResult>"""
    assert delete_errors(document.encode()) == {"a": "AccessDenied"}
    assert delete_errors(f"<DeleteResult {S3}/>".encode()) == {}


@pytest.mark.parametrize(
    "document",
    [
        b"<Error><Code>SlowDown</Code></Error>",
        b"<html></html>",
        b"",
        b"<DeleteResult",
        b"<!DOCTYPE x><DeleteResult/>",
    ],
)
def test_an_answer_that_is_not_the_one_asked_for_is_a_failure_not_an_empty_one(document: bytes) -> None:
    with pytest.raises(NodeError):
        delete_errors(document)
    with pytest.raises(NodeError):
        page(document)


def test_a_truncated_page_goes_on_behind_its_last_name() -> None:
    item = "<Contents><Key>blobs/a</Key><Size>7</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>"
    listing = page(f"<ListBucketResult {S3}>{item}<IsTruncated>true</IsTruncated></ListBucketResult>".encode())
    assert [(blob.name, blob.size) for blob in listing.blobs] == [("blobs/a", 7)]
    assert listing.next == "blobs/a"
