"""Resumable uploads over HTTP: the way to the object, and the ends an upload may come to."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from random import Random
from time import time

import pytest

from common.errors import CatalogueUnavailable
from common.model.sizes import MIB
from common.queue.base import Queue
from tests.unit.api.conftest import MakeApi
from tests.unit.api.tus import BYTES, UPLOADS, Tus, metadata
from tests.unit.api.world import ApiWorld, problem

OBJECT = "/v1/buckets/casa/objects/a"
DATA = Random(1).randbytes(3 * MIB + 100)


def digest(name: str, data: bytes) -> str:
    return f"{name} {b64encode(hashlib.new(name, data).digest()).decode()}"


# -- the whole way


def test_object_comes_back_as_it_was_sent_in_parts(api: ApiWorld, tus: Tus) -> None:
    created = tus.create(
        len(DATA),
        X_Meta_Autor="yo",
        headers={"Upload-Metadata": metadata(bucket="casa", key="a/ñ", content_type="text/x-saludo", otro="sí")},
    )
    url = created.headers["Location"]
    assert (created.status_code, created.data) == (201, b"")
    assert "Upload-Offset" not in created.headers
    offset = 0
    for end in (1, MIB + 5, len(DATA)):
        answer = tus.patch(url, offset, DATA[offset:end])
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(end))
        offset = end
    got = api.client.get("/v1/buckets/casa/objects/a/%C3%B1")
    assert (got.status_code, got.data) == (200, DATA)
    assert (got.headers["Content-Type"], got.headers["X-Meta-Autor"]) == ("text/x-saludo", "yo")
    assert "Repr-Digest" not in got.headers, "promised for uploads in one request only"
    assert answer.headers["ETag"] == got.headers["ETag"]
    assert answer.headers["Content-Location"] == "/v1/buckets/casa/objects/a/%C3%B1"
    again = tus.head(url)
    assert (again.headers["Upload-Offset"], again.headers["ETag"]) == (str(len(DATA)), got.headers["ETag"])


def test_nothing_is_visible_before_the_last_byte(api: ApiWorld, tus: Tus) -> None:
    url = tus.begin(10)
    tus.patch(url, 0, DATA[:9])
    problem(api.client.get(OBJECT), 404, "no-such-object")
    assert set(api.catalogue.status().objects.values()) == {0}
    assert api.queue.take(Queue.REPLICATE) is None, "the copies of an upload in progress are nobody's work"
    tus.patch(url, 9, DATA[9:10])
    assert api.client.get(OBJECT).data == DATA[:10]
    message = api.queue.take(Queue.REPLICATE)
    assert message is not None
    assert len(message[1]) == 2, "both of its blobs"


def test_first_bytes_may_come_with_the_creation(api: ApiWorld, tus: Tus) -> None:
    created = tus.create(len(DATA), data=DATA[:2000])
    assert (created.status_code, created.headers["Upload-Offset"]) == (201, "2000")
    assert tus.patch(created.headers["Location"], 2000, DATA[2000:]).status_code == 204
    assert api.client.get(OBJECT).data == DATA
    whole = tus.create(5, "b", data=b"whole", Upload_Checksum=digest("sha1", b"whole"))
    assert (whole.status_code, whole.headers["Upload-Offset"]) == (201, "5")
    assert whole.headers["Content-Location"] == "/v1/buckets/casa/objects/b"
    assert api.client.get("/v1/buckets/casa/objects/b").data == b"whole"


def test_empty_object_is_there_at_once(api: ApiWorld, tus: Tus) -> None:
    created = tus.create(0)
    assert (created.status_code, created.headers["Upload-Offset"]) == (201, "0")
    got = api.client.get(OBJECT)
    assert (got.status_code, got.data, got.headers["X-Copies"]) == (200, b"", "1/3")
    assert tus.offset(created.headers["Location"]) == 0


def test_write_copies_hold_for_every_request(api: ApiWorld, tus: Tus) -> None:
    url = tus.begin(4, X_Write_Copies="2")
    tus.patch(url, 0, b"ab")
    assert len(api.nodes.blobs()) == 2
    tus.patch(url, 2, b"cd")
    assert api.client.get(OBJECT).headers["X-Copies"] == "2/3"


def test_filename_and_filetype_of_common_clients_stand_in(api: ApiWorld, tus: Tus) -> None:
    named = metadata(bucket="casa", filename="foto.png", filetype="image/png")
    tus.create(1, data=b"x", headers={"Upload-Metadata": named})
    assert api.client.get("/v1/buckets/casa/objects/foto.png").content_type == "image/png"


# -- the ends


def test_what_was_ended_is_gone_and_its_blobs_go(api: ApiWorld, tus: Tus) -> None:
    url = tus.begin(10)
    tus.patch(url, 0, b"abc")
    assert tus.delete(url).status_code == 204
    assert set(api.left_over().values()) == {"doomed"}
    for answer in (tus.patch(url, 3, b"d"), tus.delete(url)):
        problem(answer, 410, "upload-gone")
    assert tus.head(url).status_code == 410


def test_an_upload_nobody_began_is_not_found(tus: Tus) -> None:
    url = UPLOADS + "/0190"
    for answer in (tus.patch(url, 0, b"d"), tus.delete(url)):
        problem(answer, 404, "no-such-upload")
    assert tus.head(url).status_code == 404


def test_an_upload_expires_a_day_after_its_last_bytes(make_api: MakeApi) -> None:
    now = [time()]
    api = make_api(clock=lambda: now[0])
    tus = Tus(api.client)
    url = tus.begin(10)
    now[0] += 86_000
    assert tus.patch(url, 0, b"abc").status_code == 204
    now[0] += 86_000
    assert tus.offset(url) == 3
    now[0] += 500
    problem(tus.patch(url, 3, b"d"), 410, "upload-gone")
    assert tus.head(url).status_code == 410, "whether the sweep was here yet or not"
    assert api.catalogue.objects.expire_uploads() == 1
    assert api.catalogue.objects.forget() == 0
    problem(tus.patch(url, 3, b"d"), 410, "upload-gone")


def test_of_a_finished_upload_only_the_memory_goes(make_api: MakeApi) -> None:
    now = [time()]
    api = make_api(clock=lambda: now[0])
    tus = Tus(api.client)
    ended, kept = (tus.create(1, key, data=b"x").headers["Location"] for key in "ab")
    assert tus.delete(ended).status_code == 204
    assert tus.head(ended).status_code == 404
    api.client.delete("/v1/buckets/casa/objects/b")
    assert tus.offset(kept) == 1, "it was received, whatever became of the object since"
    assert tus.patch(kept, 1).status_code == 204
    assert api.client.get(OBJECT).data == b"x"
    now[0] += 100_000
    assert api.catalogue.uploads.forget(86_400) == 1
    assert tus.head(kept).status_code == 404


def test_a_finished_upload_keeps_no_key(api: ApiWorld, tus: Tus) -> None:
    tus.create(1, data=b"x")
    with api.catalogue.database.reading.connect() as connection:
        rows = connection.exec_driver_sql("SELECT wrapped_dek, kek_id FROM uploads").all()
    assert [tuple(row) for row in rows] == [(b"", "")]


# -- conditions and tokens


def test_conditions_are_judged_at_the_creation_and_at_the_commit(api: ApiWorld, tus: Tus) -> None:
    api.client.put(OBJECT, data=b"old")
    problem(tus.create(1, If_None_Match="*"), 412, "precondition-failed")
    problem(tus.create(1, If_Match='"x"'), 412, "precondition-failed")
    url = tus.begin(1, "b", If_None_Match="*")
    api.client.put("/v1/buckets/casa/objects/b", data=b"first")
    problem(tus.patch(url, 0, b"x"), 412, "precondition-failed")
    assert api.client.get("/v1/buckets/casa/objects/b").data == b"first"
    etag = api.client.get(OBJECT).headers["ETag"]
    assert tus.patch(tus.begin(1, If_Match=etag), 0, b"x").status_code == 204
    assert api.client.get(OBJECT).data == b"x"


def test_a_token_uploads_with_the_scope_to_write_into_its_buckets(make_api: MakeApi) -> None:
    api = make_api(auth="token")
    api.catalogue.tokens.ensure("reader", hashlib.sha256(b"reader").hexdigest(), ("read", "delete"))
    api.catalogue.tokens.ensure("writer", hashlib.sha256(b"writer").hexdigest(), ("write",))
    api.catalogue.tokens.ensure("other", hashlib.sha256(b"other").hexdigest(), ("write",))
    with api.catalogue.database.engine.begin() as connection:
        connection.exec_driver_sql("""UPDATE tokens SET buckets = '["archivos"]' WHERE name = 'other'""")
    nobody, reader, writer, other = (
        Tus(api.client, **({"Authorization": f"Bearer {name}"} if name else {}))
        for name in ("", "reader", "writer", "other")
    )
    assert api.client.options(UPLOADS).status_code == 204
    problem(nobody.create(1), 401, "unauthenticated")
    problem(reader.create(1), 403, "forbidden")
    problem(other.create(1), 403, "forbidden")
    url = writer.begin(2)
    for wrong in (reader, other):
        problem(wrong.patch(url, 0, b"x"), 403, "forbidden")
        problem(wrong.delete(url), 403, "forbidden")
        assert wrong.head(url).status_code == 403
    assert writer.patch(url, 0, b"xy").status_code == 204
    assert writer.offset(url) == 2
    assert writer.delete(url).status_code == 204


def test_methods_can_be_named_in_a_header(api: ApiWorld, tus: Tus) -> None:
    url = tus.begin(2)
    sent = tus.ask(
        "POST",
        url,
        data=b"xy",
        headers={"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0", "Content-Type": BYTES},
    )
    assert (sent.status_code, api.client.get(OBJECT).data) == (204, b"xy")
    assert tus.ask("POST", url, headers={"X-HTTP-Method-Override": "DELETE"}).status_code == 204
    problem(tus.ask("POST", url, headers={"X-HTTP-Method-Override": "PUT"}), 400, "malformed")
    assert api.client.get(url).status_code == 405


# -- trouble


def test_a_commit_that_fails_for_now_is_tried_again(api: ApiWorld, tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [2]
    commit = api.catalogue.objects.commit

    def flaky(*args: object, **options: object) -> object:
        failing[0] -= 1
        if failing[0] >= 0:
            raise CatalogueUnavailable("not now")
        return commit(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(api.catalogue.objects, "commit", flaky)
    url = tus.begin(3)
    problem(tus.patch(url, 0, b"abc"), 503, "catalogue-unavailable")
    told = tus.head(url)
    assert told.status_code == 423, "all bytes are there, and the object is not: nobody may believe it is"
    assert int(told.headers["Retry-After"]) > 0
    assert tus.patch(url, 3).status_code == 204
    assert api.client.get(OBJECT).data == b"abc"


def test_who_looks_at_a_whole_upload_without_a_commit_makes_it(
    api: ApiWorld, tus: Tus, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tus.begin(3)
    with monkeypatch.context() as patched:
        patched.setattr(api.catalogue.objects, "commit", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            tus.patch(url, 0, b"abc")
    assert tus.offset(url) == 3
    assert api.client.get(OBJECT).data == b"abc"


def test_first_bytes_that_no_node_takes_now_can_be_sent_later(api: ApiWorld, tus: Tus) -> None:
    stores = dict(api.nodes.stores)
    url = tus.begin(3)
    api.nodes.down = set(stores)
    problem(tus.patch(url, 0, b"abc"), 503, "not-enough-nodes")
    assert tus.offset(url) == 0
    api.nodes.down = set()
    assert tus.patch(url, 0, b"abc").status_code == 204
    assert api.client.get(OBJECT).data == b"abc"


def test_a_creation_whose_bytes_are_wrong_leaves_nothing(api: ApiWorld, tus: Tus) -> None:
    problem(tus.create(3, data=b"abc", Upload_Checksum=digest("sha1", b"abd")), 460, "checksum-mismatch")
    assert set(api.left_over().values()) == {"doomed"}
    assert api.catalogue.objects.expire_uploads() == 0
