"""Objects over HTTP: what goes in comes out, with its headers."""

from __future__ import annotations

import base64
import hashlib

import pytest

from api.http.schemas import CopiesDocument, ObjectDocument, ObjectList
from tests.unit.api.world import ApiWorld, problem

BASE = "/v1/buckets/casa/objects/"


def test_object_comes_back_with_its_bytes_and_headers(api: ApiWorld) -> None:
    data = b"hola" * 1000
    headers = {
        "Content-Type": "text/x-saludo",
        "Content-Language": "es",
        "Content-Disposition": "inline",
        "Content-Encoding": "identity",
        "Cache-Control": "no-store",
        "X-Meta-Autor": "Señora Núñez".encode().decode("latin-1"),
    }
    put = api.client.put(BASE + "a", data=data, headers=headers)
    assert put.status_code == 201
    document = ObjectDocument.model_validate_json(put.data)
    assert document.metadata == {"autor": "Señora Núñez"}
    assert (document.size, document.state, document.copies.stored) == (4000, "replicating", 1)
    assert put.headers["ETag"] == document.etag == f'"{document.version}"'
    assert put.headers["Location"] == BASE + "a"

    got = api.client.get(BASE + "a")
    assert (got.status_code, got.data) == (200, data)
    for name, value in headers.items():
        assert got.headers[name] == value
    assert got.headers["ETag"] == document.etag
    assert got.headers["Accept-Ranges"] == "bytes"
    assert got.headers["X-Copies"] == "1/3"
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert got.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert "Last-Modified" in got.headers


def test_second_put_answers_200_and_replaces(api: ApiWorld) -> None:
    assert api.client.put(BASE + "a", data=b"1").status_code == 201
    assert api.client.put(BASE + "a", data=b"22").status_code == 200
    assert api.client.get(BASE + "a").data == b"22"


def test_empty_object_is_an_object(api: ApiWorld) -> None:
    assert api.client.put(BASE + "nada").status_code == 201
    got = api.client.get(BASE + "nada")
    assert (got.status_code, got.data, got.headers["Content-Length"]) == (200, b"", "0")


def test_head_has_the_headers_and_reads_no_node(api: ApiWorld) -> None:
    api.client.put(BASE + "a", data=b"12345")
    api.nodes.down = set(api.nodes.stores)
    head = api.client.head(BASE + "a")
    assert (head.status_code, head.headers["Content-Length"], head.data) == (200, "5", b"")


def test_delete_answers_204_and_then_404(api: ApiWorld) -> None:
    api.client.put(BASE + "a", data=b"1")
    assert api.client.delete(BASE + "a").status_code == 204
    problem(api.client.get(BASE + "a"), 404, "no-such-object")
    problem(api.client.delete(BASE + "a"), 404, "no-such-object")
    problem(api.client.get("/v1/buckets/nadie/objects/a"), 404, "no-such-bucket")


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("a//b", "a//b"),
        ("../x", "../x"),
        ("a%2Fb", "a/b"),
        ("a/b", "a/b"),
        ("x/", "x/"),
        ("/", "/"),
        ("a%252Fb", "a%2Fb"),
        ("a+b%20c", "a+b c"),
        ("%C3%B1", "ñ"),
        ("e%CC%81", "e\u0301"),
        (".", "."),
        ("a;b?x=1", "a;b"),
        ("%F0%9F%8D%87" * 256, "🍇" * 256),
    ],
)
def test_key_is_decoded_once_and_never_a_path(shared: ApiWorld, raw: str, key: str) -> None:
    put = shared.client.put("/", data=raw.encode(), environ_overrides={"RAW_URI": BASE + raw})
    assert put.status_code in (200, 201), put.data
    assert ObjectDocument.model_validate_json(put.data).key == key
    listing = ObjectList.model_validate_json(shared.client.get("/v1/buckets/casa/objects").data)
    assert key in [entry.key for entry in listing.objects]
    again = shared.client.get("/", environ_overrides={"RAW_URI": put.headers["Location"]})
    assert again.data == raw.encode()


@pytest.mark.parametrize("raw", ["%FF", "%C3", "%zz", "a%", "%ED%A0%80"])
def test_key_that_is_no_utf8_answers_400(shared: ApiWorld, raw: str) -> None:
    response = shared.client.get("/", environ_overrides={"RAW_URI": BASE + raw})
    assert problem(response, 400, "malformed")["field"] == "key"


@pytest.mark.parametrize("raw", ["", "%00", "a%0Ab", "%7F", "%C2%85", "x" * 1025, "%C3%B1" * 513])
def test_key_that_breaks_the_rules_answers_422(shared: ApiWorld, raw: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        response = shared.client.open("/", method=method, environ_overrides={"RAW_URI": BASE + raw})
        assert problem(response, 422, "not-allowed")["field"] == "key"


@pytest.mark.parametrize("raw", ["Casa", "ca", "-ab", "a..b", "1.2.3.4", "a%2Fobjects%2Fb", "x" * 64])
def test_bucket_name_that_breaks_the_rules_answers_422(shared: ApiWorld, raw: str) -> None:
    response = shared.client.put("/", environ_overrides={"RAW_URI": f"/v1/buckets/{raw}/objects/k"})
    assert problem(response, 422, "not-allowed")["field"] == "bucket"


def test_copies_say_where_each_one_is(api: ApiWorld) -> None:
    api.client.put(BASE + "a/b", data=b"1")
    document = CopiesDocument.model_validate_json(api.client.get("/v1/buckets/casa/copies/a/b").data)
    assert document.object.key == "a/b"
    assert sorted(copy.state for copy in document.copies) == ["missing", "missing", "stored"]
    assert sorted(copy.node or "" for copy in document.copies) == ["n0", "n1", "n2"]
    stored = next(copy for copy in document.copies if copy.state == "stored")
    assert [name for _store, name in api.nodes.blobs()] == [stored.blob_key]
