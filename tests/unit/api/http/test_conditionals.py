"""The conditionals of RFC 9110 over HTTP, in their order of precedence, on reads and on changes."""

from __future__ import annotations

import pytest
from werkzeug.http import http_date

from tests.unit.api.conftest import MakeApi
from tests.unit.api.world import ApiWorld, problem

PATH = "/v1/buckets/casa/objects/a"
BEFORE, AFTER = http_date(0), http_date(4_000_000_000)


@pytest.fixture
def stored(shared: ApiWorld) -> tuple[ApiWorld, str]:
    put = shared.client.put(PATH, data=b"0123456789", headers={"Cache-Control": "no-cache"})
    return shared, put.headers["ETag"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": "ETAG"}, 200),
        ({"If-Match": '"other", ETAG'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": "W/ETAG"}, 412),  # strong comparison
        ({"If-Match": ""}, 412),
        ({"If-Unmodified-Since": AFTER}, 200),
        ({"If-Unmodified-Since": BEFORE}, 412),
        ({"If-Unmodified-Since": "yesterday"}, 200),  # no HTTP-date: ignored
        ({"If-Match": "ETAG", "If-Unmodified-Since": BEFORE}, 200),  # If-Match counts alone
        ({"If-None-Match": "ETAG"}, 304),
        ({"If-None-Match": "W/ETAG"}, 304),  # weak comparison
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Modified-Since": AFTER}, 304),
        ({"If-Modified-Since": BEFORE}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": AFTER}, 200),  # If-None-Match counts alone
        ({"If-Match": '"other"', "If-None-Match": "ETAG"}, 412),  # If-Match comes first
        ({"If-None-Match": "ETAG", "Range": "bytes=0-0"}, 304),
        ({"If-Match": '"other"', "Range": "bytes=99-"}, 412),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_read_obeys_the_conditionals(
    stored: tuple[ApiWorld, str], method: str, headers: dict[str, str], status: int
) -> None:
    api, etag = stored
    response = api.client.open(
        PATH, method=method, headers={name: value.replace("ETAG", etag) for name, value in headers.items()}
    )
    if method == "HEAD" or "Range" not in headers or status in (304, 412):
        assert response.status_code == status
    if status == 304:
        assert response.data == b""
        assert response.headers["ETag"] == etag
        assert response.headers["Cache-Control"] == "no-cache"
        assert "Content-Length" not in response.headers
    if status == 412 and method == "GET":
        problem(response, 412, "precondition-failed")


@pytest.mark.parametrize("value", ["abc", '"a" "b"', '"unclosed', "* , *"])
@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
def test_malformed_entity_tags_answer_400_naming_the_header(
    stored: tuple[ApiWorld, str], name: str, value: str
) -> None:
    api, _etag = stored
    assert problem(api.client.get(PATH, headers={name: value}), 400, "malformed")["field"] == name
    assert problem(api.client.put(PATH, data=b"x", headers={name: value}), 400, "malformed")["field"] == name


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": "*"}, 412),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": "ETAG"}, 200),
        ({"If-Unmodified-Since": BEFORE}, 412),
        ({"If-Unmodified-Since": AFTER}, 200),
    ],
)
def test_put_over_an_object_obeys_the_conditionals(
    stored: tuple[ApiWorld, str], headers: dict[str, str], status: int
) -> None:
    api, etag = stored
    response = api.client.put(
        PATH, data=b"new", headers={name: value.replace("ETAG", etag) for name, value in headers.items()}
    )
    assert response.status_code == status
    assert api.client.get(PATH).data == (b"new" if status == 200 else b"0123456789")


def test_put_where_there_is_nothing_obeys_the_conditionals(api: ApiWorld) -> None:
    problem(api.client.put(PATH, data=b"x", headers={"If-Match": "*"}), 412, "precondition-failed")
    problem(api.client.get(PATH), 404, "no-such-object")
    assert api.client.put(PATH, data=b"x", headers={"If-None-Match": "*"}).status_code == 201


def test_delete_obeys_the_conditionals(stored: tuple[ApiWorld, str]) -> None:
    api, etag = stored
    problem(api.client.delete(PATH, headers={"If-Match": '"other"'}), 412, "precondition-failed")
    problem(api.client.delete(PATH, headers={"If-Unmodified-Since": BEFORE}), 412, "precondition-failed")
    assert api.client.delete(PATH, headers={"If-Match": etag}).status_code == 204


@pytest.mark.parametrize(
    ("text", "status", "data", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=8-99999999999999999999", 206, b"89", "bytes 8-9/10"),
        ("bytes=9-9", 206, b"9", "bytes 9-9/10"),
        ("bytes=99-,4-5", 206, b"45", "bytes 4-5/10"),  # only one of them is there
        ("bytes=0-4,4-5", 200, b"0123456789", None),
        ("bytes=0-0,x", 200, b"0123456789", None),
        ("bytes=3-1", 200, b"0123456789", None),
        ("bytes=x", 200, b"0123456789", None),
        ("octets=0-3", 200, b"0123456789", None),
    ],
)
def test_range_answers_the_part_asked_for(
    stored: tuple[ApiWorld, str], text: str, status: int, data: bytes, content_range: str | None
) -> None:
    api, etag = stored
    response = api.client.get(PATH, headers={"Range": text})
    assert (response.status_code, response.data) == (status, data)
    assert response.headers.get("Content-Range") == content_range
    assert response.headers["Content-Length"] == str(len(data))
    assert response.headers["ETag"] == etag


@pytest.mark.parametrize(
    "text", ["bytes=10-", "bytes=10-20", "bytes=99999999999999999999-", "bytes=-0", "bytes=10-,-0"]
)
def test_range_behind_the_end_answers_416(stored: tuple[ApiWorld, str], text: str) -> None:
    response = stored[0].client.get(PATH, headers={"Range": text})
    problem(response, 416, "range-not-satisfiable")
    assert response.headers["Content-Range"] == "bytes */10"


def test_range_of_an_empty_object(api: ApiWorld) -> None:
    api.client.put(PATH, data=b"")
    problem(api.client.get(PATH, headers={"Range": "bytes=0-"}), 416, "range-not-satisfiable")
    assert api.client.get(PATH, headers={"Range": "bytes=-5"}).status_code == 200


def test_head_ignores_range(stored: tuple[ApiWorld, str]) -> None:
    response = stored[0].client.head(PATH, headers={"Range": "bytes=0-3"})
    assert (response.status_code, response.headers["Content-Length"]) == (200, "10")


def test_if_range_decides_whether_the_range_counts(make_api: MakeApi) -> None:
    now = [1_700_000_000.5]
    api = make_api(clock=lambda: now[0])
    etag = api.client.put(PATH, data=b"0123456789").headers["ETag"]

    def status(value: str) -> int:
        return api.client.get(PATH, headers={"Range": "bytes=0-3", "If-Range": value}).status_code

    committed = http_date(1_700_000_000)
    assert status(committed) == 200  # committed in this very second: another version may follow in it
    now[0] += 10
    assert status(etag) == 206
    assert status(committed) == 206
    assert status(f"W/{etag}") == 200
    assert status('"other"') == 200
    assert status(http_date(1_700_000_001)) == 200
    assert status("nonsense") == 200
