"""Resumable uploads: the words of tus 1.0, and what is answered to those that are wrong."""

from __future__ import annotations

import hashlib
import io
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from random import Random

import pytest

from common.model.sizes import MIB
from tests.unit.api.conftest import MakeApi
from tests.unit.api.tus import BYTES, UPLOADS, Tus, metadata
from tests.unit.api.world import ApiWorld, problem

OBJECT = "/v1/buckets/casa/objects/a"
DATA = Random(1).randbytes(3 * MIB + 100)


def digest(name: str, data: bytes) -> str:
    return f"{name} {b64encode(hashlib.new(name, data).digest()).decode()}"


@pytest.mark.parametrize(("method", "path"), [("POST", UPLOADS), ("HEAD", "/x"), ("PATCH", "/x"), ("DELETE", "/x")])
@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.1"])
def test_another_version_is_refused_before_anything_else(
    shared: ApiWorld, method: str, path: str, version: str | None
) -> None:
    headers = {} if version is None else {"Tus-Resumable": version}
    answer = shared.client.open(UPLOADS + path.removeprefix(UPLOADS), method=method, headers=headers)
    assert (answer.status_code, answer.headers["Tus-Version"], answer.headers["Tus-Resumable"]) == (
        412,
        "1.0.0",
        "1.0.0",
    )


@pytest.mark.parametrize("path", [UPLOADS, UPLOADS + "/0190"])
def test_options_tell_what_is_offered(shared: ApiWorld, path: str) -> None:
    answer = shared.client.options(path)
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "termination",
        "expiration",
        "checksum",
    }
    assert "sha1" in answer.headers["Tus-Checksum-Algorithm"].split(",")
    assert int(answer.headers["Tus-Max-Size"]) == shared.settings.max_object_size


def test_every_answer_names_the_version(api: ApiWorld, tus: Tus) -> None:
    url = tus.begin(1)
    for answer in (tus.head(url), tus.head(UPLOADS + "/x"), tus.patch(url, 7), tus.create(1, "a", Upload_Length="x")):
        assert answer.headers["Tus-Resumable"] == "1.0.0"
    foreign = api.client.patch(url, headers={"Origin": "http://evil.example"})
    assert (foreign.status_code, foreign.headers["Tus-Resumable"]) == (403, "1.0.0")


def test_head_tells_where_it_stands_and_is_not_cached(tus: Tus) -> None:
    given = metadata(bucket="casa", key="a", otro="") + ",solo,icono /9j/"
    url = tus.begin(10, headers={"Upload-Metadata": given})
    tus.patch(url, 0, b"abc")
    answer = tus.head(url)
    assert {name: answer.headers[name] for name in ("Upload-Offset", "Upload-Length", "Upload-Metadata")} == {
        "Upload-Offset": "3",
        "Upload-Length": "10",
        "Upload-Metadata": given,
    }
    assert answer.headers["Cache-Control"] == "no-store"
    expires = parsedate_to_datetime(answer.headers["Upload-Expires"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < expires <= timedelta(hours=24)


@pytest.mark.parametrize(
    ("headers", "status", "field"),
    [
        ({"Upload-Length": ""}, 400, "Upload-Length"),
        ({"Upload-Length": "-1"}, 400, "Upload-Length"),
        ({"Upload-Length": "1.5"}, 400, "Upload-Length"),
        ({"Upload-Defer-Length": "1"}, 400, "Upload-Length"),
        ({"Upload-Concat": "partial"}, 400, "Upload-Length"),
        ({"Upload-Metadata": ""}, 400, "Upload-Metadata"),
        ({"Upload-Metadata": "bucket"}, 400, "Upload-Metadata"),
        ({"Upload-Metadata": metadata(bucket="casa")}, 400, "Upload-Metadata"),
        ({"Upload-Metadata": metadata(key="a")}, 400, "Upload-Metadata"),
        ({"Upload-Metadata": "bucket Y2FzYQ==,key ===="}, 400, "Upload-Metadata"),
        ({"Upload-Metadata": "bucket Y2FzYQ==,key /w=="}, 400, "Upload-Metadata"),
        ({"Upload-Metadata": "bucket Y2FzYQ==,bucket Y2FzYQ==,key YQ=="}, 400, "Upload-Metadata"),
        ({"Upload-Metadata": "bucket Y2FzYQ==,,key YQ=="}, 400, "Upload-Metadata"),
        ({"Upload-Metadata": "bucket Y2FzYQ== x,key YQ=="}, 400, "Upload-Metadata"),
        ({"Upload-Metadata": metadata(bucket="C", key="a")}, 422, "bucket"),
        ({"Upload-Metadata": metadata(bucket="casa", key="a\nb")}, 422, "key"),
        ({"Upload-Metadata": metadata(bucket="casa", key="k" * 1025)}, 422, "key"),
        ({"Upload-Metadata": metadata(bucket="casa", key="a", content_type="a\nb")}, 400, "Upload-Metadata"),
        ({"X-Write-Copies": "4"}, 422, "X-Write-Copies"),
        ({"X-Write-Copies": "x"}, 400, "X-Write-Copies"),
        ({"Upload-Checksum": "crc32 AAAA"}, 400, "Upload-Checksum"),
    ],
)
def test_what_is_wrong_at_the_creation_is_named(
    shared: ApiWorld, headers: dict[str, str], status: int, field: str
) -> None:
    answer = Tus(shared.client).create(1, headers=headers)
    slug = "malformed" if status == 400 else "not-allowed"
    assert problem(answer, status, slug)["field"] == field


def test_creation_is_refused_where_an_upload_would_be(make_api: MakeApi) -> None:
    api = make_api(max_object_size=100)
    tus = Tus(api.client)
    problem(tus.create(101), 413, "too-large")
    problem(tus.create(1, headers={"Upload-Metadata": metadata(bucket="nada", key="a")}), 404, "no-such-bucket")
    problem(tus.create(5, data=b"123456"), 413, "too-large")
    wrong_type = {
        "Upload-Length": "1",
        "Upload-Metadata": metadata(bucket="casa", key="a"),
        "Content-Type": "text/plain",
    }
    problem(tus.ask("POST", UPLOADS, data=b"x", headers=wrong_type), 415, "unsupported-media-type")
    api.nodes.down = set(api.nodes.stores)
    problem(tus.create(1), 503, "not-enough-nodes")


def test_wrong_type_offset_or_length_of_a_part_changes_nothing(api: ApiWorld, tus: Tus) -> None:
    url = tus.begin(10)
    tus.patch(url, 0, b"abc")
    problem(tus.patch(url, 3, b"d", Content_Type="application/octet-stream"), 415, "unsupported-media-type")
    problem(tus.patch(url, 3, b"d", Upload_Offset=""), 400, "malformed")
    for offset in (0, 2, 4, 10):
        assert "3" in problem(tus.patch(url, offset, b"d"), 409, "conflict")["detail"]
    problem(tus.patch(url, 3, b"12345678"), 413, "too-large")
    problem(tus.patch(url, 3, b"d", Upload_Checksum="md4 AA=="), 400, "malformed")
    problem(tus.patch(url, 3, b"d", Upload_Checksum="sha1 AA=="), 400, "malformed")
    assert tus.offset(url) == 3
    assert tus.patch(url, 3, b"defghij").status_code == 204
    assert api.client.get(OBJECT).data == b"abcdefghij"


def test_a_chunked_part_beyond_the_length_is_refused(api: ApiWorld, tus: Tus) -> None:
    url = tus.begin(4)
    answer = tus.ask(
        "PATCH",
        url,
        headers={"Upload-Offset": "0", "Content-Type": BYTES, "Transfer-Encoding": "chunked"},
        input_stream=io.BytesIO(b"12345"),
        environ_overrides={"wsgi.input_terminated": True},
    )
    problem(answer, 413, "too-large")
    problem(api.client.get(OBJECT), 404, "no-such-object")
    assert tus.offset(url) == 0


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256", "sha512"])
def test_a_part_with_its_checksum_counts_and_one_with_another_does_not(make_api: MakeApi, algorithm: str) -> None:
    api = make_api(blob_size=MIB)
    tus = Tus(api.client)
    url = tus.begin(len(DATA))
    tus.patch(url, 0, DATA[:10])
    wrong = digest(algorithm, DATA)
    problem(tus.patch(url, 10, DATA[10:], Upload_Checksum=wrong), 460, "checksum-mismatch")
    assert tus.offset(url) == 10
    assert set(api.left_over().values()) == {"uploading", "doomed"}, "what was put of it goes"
    right = digest(algorithm, DATA[10:])
    assert tus.patch(url, 10, DATA[10:], Upload_Checksum=right).status_code == 204
    assert api.client.get(OBJECT).data == DATA
