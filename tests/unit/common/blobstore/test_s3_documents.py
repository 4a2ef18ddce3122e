from __future__ import annotations

import pytest

from common.blobstore.s3_documents import MARKS_MAX, check_range, delete_errors, failure, http_date, page
from common.errors import NodeError, NodeReadOnly, NodeRefused

S3 = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def test_names_that_failed_are_told_and_absent_ones_are_not() -> None:
    document = f"""<DeleteResult {S3}><Error><Key>a</Key><Code>AccessDenied</Code></Error>
        <Error><Key>b</Key><Code>NoSuchKey</Code></Error></DeleteResult>"""
    assert delete_errors(document.encode(), ["a", "b"]) == {"a": "AccessDenied"}
    assert delete_errors(f"<DeleteResult {S3}/>".encode(), []) == {}


DENIED = b"<Error><Code>AccessDenied</Code></Error>"
NOON = http_date("Sat, 31 Jan 2026 12:00:00 GMT")


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize(
    ("ours", "words"),
    [
        (NOON + 1200, "; our clock is 20 minutes ahead of the node's"),
        (NOON - 1200, "; our clock is 20 minutes behind the node's"),
    ],
)
def test_a_refusal_says_by_how_much_the_clocks_differ_and_is_no_full_disk(method: str, ours: float, words: str) -> None:
    error = failure(method, 403, DENIED, "Sat, 31 Jan 2026 12:00:00 GMT", ours)
    assert isinstance(error, NodeRefused)
    assert error.detail == f"the node answered 403 AccessDenied{words}"


@pytest.mark.parametrize("date", ["Sat, 31 Jan 2026 12:00:00 GMT", "yesterday", "", None])
def test_a_refusal_with_clocks_that_agree_or_are_not_told_says_nothing_of_them(date: str | None) -> None:
    assert failure("GET", 403, DENIED, date, NOON + 60).detail == "the node answered 403 AccessDenied"
    assert isinstance(failure("PUT", 403, DENIED, date, NOON + 60), NodeReadOnly)


def test_names_that_were_not_to_be_deleted_are_the_nodes_failure() -> None:
    with pytest.raises(NodeError):
        delete_errors(b"<DeleteResult><Error><Key>c</Key><Code>Odd</Code></Error></DeleteResult>", ["a", "b"])


@pytest.mark.parametrize(
    "document",
    [
        b"<Error><Code>SlowDown</Code></Error>",
        b"<html></html>",
        b"",
        b"<DeleteResult",
        b"<!DOCTYPE x><DeleteResult/>",
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x><ListBucketResult/>'.encode("utf-16"),
        b"<ListBucketResult>\xff</ListBucketResult>",
        b"<ListBucketResult>" + b"<a/>" * MARKS_MAX + b"</ListBucketResult>",
        b"<ListBucketResult " + b" ".join(b"a%d=''" % number for number in range(MARKS_MAX)) + b"/>",
    ],
)
def test_an_answer_that_is_not_the_one_asked_for_is_a_failure_not_an_empty_one(document: bytes) -> None:
    with pytest.raises(NodeError):
        delete_errors(document, [])
    with pytest.raises(NodeError):
        page(document, "", "", 1000)


def listing(*names: str, more: bool = True, size: str = "7", modified: str = "2026-01-02T03:04:05.000Z") -> bytes:
    items = "".join(
        f"<Contents><Key>{name}</Key><Size>{size}</Size><LastModified>{modified}</LastModified></Contents>"
        for name in names
    )
    truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
    return f"<ListBucketResult {S3}>{items}{truncated}</ListBucketResult>".encode()


def test_a_truncated_page_goes_on_behind_its_last_name() -> None:
    found = page(listing("blobs/a"), "blobs/", "", 1000)
    assert [(blob.name, blob.size, blob.modified) for blob in found.blobs] == [("blobs/a", 7, 1767323045.0)]
    assert found.next == "blobs/a"
    assert page(listing("blobs/a", more=False), "", "", 1000).next is None


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("blobs/c", "blobs/b"), id="not ascending"),
        pytest.param(("blobs/c", "blobs/c"), id="one name twice"),
        pytest.param(("blobs/a",), id="the name after which it should begin"),
        pytest.param(("blobs/0",), id="a name before that"),
        pytest.param(("other/b",), id="a name without the prefix"),
        pytest.param(("blobs/b", "blobs/c", "blobs/d", "blobs/e"), id="more than asked for"),
        pytest.param((), id="none, and more to come"),
        pytest.param(("blobs/" + "x" * 1019,), id="a name longer than names may be"),
    ],
)
def test_a_page_that_could_make_a_listing_endless_or_false_is_the_nodes_failure(names: tuple[str, ...]) -> None:
    with pytest.raises(NodeError):
        page(listing(*names), "blobs/", "blobs/a", 3)


@pytest.mark.parametrize("size", ["-1", "+5", "5_0", "0x5", "٣", "²", "1e3", "9" * 16, "9" * 5000])
def test_a_size_that_is_none_is_the_nodes_failure(size: str) -> None:
    with pytest.raises(NodeError):
        page(listing("a", size=size), "", "", 1000)


@pytest.mark.parametrize(
    "modified", ["0001-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+99:99", "soon"]
)
def test_a_time_that_is_none_is_the_nodes_failure(modified: str) -> None:
    with pytest.raises(NodeError):
        page(listing("a", modified=modified), "", "", 1000)


def test_a_date_is_read_as_servers_write_it() -> None:
    assert http_date("Mon, 05 Jan 2026 10:00:01 GMT") == 1767607201.0


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Mon, 05 Jan 0001 00:00:00 -0000",
        "Mon, 05 Jan 2026 10:00:00 +9999999999",
        "Mon, 31 Feb 2026 10:00:00 GMT",
        "Mon, 05 Jan 99999999999999999999 10:00:00 GMT",
        "Mon, 05 Foo 2026 10:00:00 GMT",
        "Mon, 05 Jan 2026 10:00:60 GMT",
    ],
)
def test_a_date_that_is_none_is_the_nodes_failure(value: str | None) -> None:
    with pytest.raises(NodeError):
        http_date(value)


def test_a_range_may_be_cut_at_the_blobs_end() -> None:
    check_range("bytes 4-9/10", 4, 100, 6)
    check_range("bytes 4-9/*", 4, None, 6)


@pytest.mark.parametrize(
    ("header", "answered"),
    [
        ("", 2),
        ("bytes 3-4/10", 2),
        ("bytes 4-5/10", 400_000_000),
        ("bytes 4-400000003/400000004", 400_000_000),
        ("bytes 4-3/10", 0),
        ("bytes 4-" + "9" * 5000 + "/10", 2),
    ],
)
def test_an_answer_that_is_not_the_range_asked_for_is_the_nodes_failure(header: str, answered: int) -> None:
    with pytest.raises(NodeError):
        check_range(header, 4, 2, answered)
