"""Every row of the contract's table of errors, through HTTP; and nothing of the inside in any answer."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any, NoReturn

import pytest

from api.http.problems import ALL, TABLE, answer_of
from common import errors
from common.blobstore.base import background
from common.model.sizes import MIB
from tests.support.waiting import wait_until
from tests.unit.api.conftest import MakeApi
from tests.unit.api.world import ApiWorld, problem

PATH = "/v1/buckets/casa/objects/a"
DATA = b"0123456789"
LONG = 2 * MIB + 1  # three blobs, where one has a MiB


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def test_write_copies_over_the_bucket_s_copies_answers_422(shared: ApiWorld) -> None:
    response = shared.client.put(PATH, data=DATA, headers={"X-Write-Copies": "4"})
    assert problem(response, 422, "not-allowed")["field"] == "X-Write-Copies"


def test_write_copies_are_written_before_the_answer(api: ApiWorld) -> None:
    put = api.client.put(PATH, data=DATA, headers={"X-Write-Copies": "2"})
    assert json.loads(put.data)["copies"] == {"wanted": 3, "stored": 2}
    assert len(api.nodes.blobs()) == 2


@pytest.mark.parametrize(("value", "status"), [("x", 400), ("", 400), ("-1", 422), ("1.5", 400), ("0", 422)])
def test_write_copies_that_are_no_count_are_refused(shared: ApiWorld, value: str, status: int) -> None:
    response = shared.client.put(PATH, data=DATA, headers={"X-Write-Copies": value})
    assert (response.status_code, response.get_json(force=True)["field"]) == (status, "X-Write-Copies")


def test_too_few_nodes_answers_503_and_nothing_becomes_visible(api: ApiWorld) -> None:
    api.nodes.down = set(api.nodes.stores)
    response = api.client.put(PATH, data=DATA)
    problem(response, 503, "not-enough-nodes")
    assert int(response.headers["Retry-After"]) > 0
    assert api.left_over() == {}
    problem(api.client.get(PATH), 404, "no-such-object")


def test_copy_that_cannot_be_asked_answers_503_never_404(api: ApiWorld) -> None:
    api.client.put(PATH, data=DATA)
    api.nodes.down = set(api.nodes.stores)
    response = api.client.get(PATH)
    problem(response, 503, "copies-unreachable")
    assert "Retry-After" in response.headers


def test_object_whose_copies_are_all_wrong_answers_502(api: ApiWorld) -> None:
    api.client.put(PATH, data=DATA, headers={"X-Write-Copies": "3"})
    for store, name in api.nodes.blobs():
        store.put(name, bytes(len(store.read(name, background(0), 16 * MIB))), background(0))
    problem(api.client.get(PATH), 502, "object-damaged")


@pytest.mark.parametrize(("size", "left"), [(10, [None]), (LONG, ["uploading"] * 3)])
def test_unknown_outcome_of_the_commit_answers_500_and_deletes_nothing(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch, size: int, left: list[str | None]
) -> None:
    """Should it not have been stored: names without a row are reclaimed, an upload expires."""

    def lost(*_: Any, **__: Any) -> NoReturn:
        raise errors.OutcomeUnknown("the answer to COMMIT was lost")

    api = make_api(blob_size=MIB)
    monkeypatch.setattr(api.catalogue.objects, "commit", lost)
    problem(api.client.put(PATH, data=bytes(size)), 500, "outcome-unknown")
    assert list(api.left_over().values()) == left


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (errors.CatalogueUnavailable("it cannot be reached"), "catalogue-unavailable"),
        (errors.UploadSuperseded("it expired"), "upload-superseded"),
        (errors.PreconditionFailed("it was replaced meanwhile"), "precondition-failed"),
    ],
)
@pytest.mark.parametrize(("size", "left"), [(10, [None]), (LONG, ["doomed"] * 3)])
def test_refused_commit_leaves_nothing_but_names_that_may_be_removed(
    make_api: MakeApi,
    monkeypatch: pytest.MonkeyPatch,
    error: errors.BovedaError,
    slug: str,
    size: int,
    left: list[str | None],
) -> None:
    def refused(*_: Any, **__: Any) -> NoReturn:
        raise error

    api = make_api(blob_size=MIB)
    monkeypatch.setattr(api.catalogue.objects, "commit", refused)
    problem(api.client.put(PATH, data=bytes(size)), answer_of(error).status, slug)
    problem(api.client.get(PATH), 404, "no-such-object")
    assert list(api.left_over().values()) == left


def test_long_upload_that_nodes_stop_taking_leaves_nothing_but_doomed_names(make_api: MakeApi) -> None:
    api = make_api(blob_size=MIB)

    class Sent(io.BytesIO):
        def readinto(self, buffer: Any, /) -> int:
            if self.tell() > 3 * MIB // 2:
                wait_until(
                    lambda: any(store.blobs for store in api.nodes.stores.values()), what="its first blob is put"
                )
                api.nodes.down = set(api.nodes.stores)
            return super().readinto(buffer)

    response = api.client.put(PATH, input_stream=Sent(bytes(LONG)), content_length=LONG)
    problem(response, 503, "not-enough-nodes")
    api.nodes.down = set()
    left = api.left_over()
    assert left
    assert set(left.values()) == {"doomed"}


@pytest.mark.parametrize("headers", [{"Content-MD5": md5(b"other")}, {"Repr-Digest": f"sha-256=:{sha256(b'other')}:"}])
def test_wrong_digest_answers_400_and_nothing_becomes_visible(api: ApiWorld, headers: dict[str, str]) -> None:
    problem(api.client.put(PATH, data=DATA, headers=headers), 400, "digest-mismatch")
    problem(api.client.get(PATH), 404, "no-such-object")
    assert api.left_over() == {}


def test_wrong_digest_of_a_long_body_leaves_nothing_but_doomed_names(make_api: MakeApi) -> None:
    api = make_api(blob_size=MIB)
    response = api.client.put(PATH, data=bytes(LONG), headers={"Content-MD5": md5(b"other")})
    problem(response, 400, "digest-mismatch")
    assert list(api.left_over().values()) == ["doomed"] * 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-MD5": md5(DATA)},
        {"Repr-Digest": f"sha-256=:{sha256(DATA)}:"},
        {"Repr-Digest": f"md5=:{md5(b'x')}:, sha-256=:{sha256(DATA)}:;note=1, sha-512=:AAAA:"},
        {"Repr-Digest": "crc32c=:AAAAAA==:"},  # an algorithm that is not known here says nothing
    ],
)
def test_right_digest_is_accepted(shared: ApiWorld, headers: dict[str, str]) -> None:
    assert shared.client.put(PATH, data=DATA, headers=headers).status_code in (200, 201)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-MD5", "not base64!"),
        ("Content-MD5", sha256(DATA)),
        ("Content-MD5", ""),
        ("Repr-Digest", sha256(DATA)),
        ("Repr-Digest", f"sha-256={sha256(DATA)}"),
        ("Repr-Digest", f"sha-256=:{md5(DATA)}:"),
        ("Repr-Digest", "sha-256=:AAA:"),
        ("Repr-Digest", f"sha-256=:{sha256(DATA)}:,"),
        ("Repr-Digest", ""),
    ],
)
def test_malformed_digest_answers_400_naming_the_header(shared: ApiWorld, name: str, value: str) -> None:
    response = shared.client.put(PATH, data=DATA, headers={name: value})
    assert problem(response, 400, "malformed")["field"] == name


def test_too_large_body_answers_413(make_api: MakeApi) -> None:
    api = make_api(max_object_size=1000)
    assert api.client.put(PATH, data=bytes(1000)).status_code == 201
    problem(api.client.put(PATH, data=bytes(1001)), 413, "too-large")
    assert len(api.client.get(PATH).data) == 1000
    assert api.left_over() == {}


def test_body_that_turns_out_too_large_leaves_nothing_but_doomed_names(make_api: MakeApi) -> None:
    api = make_api(blob_size=MIB, max_object_size=LONG - 1)
    chunked = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    problem(api.client.put(PATH, data=bytes(LONG), environ_overrides=chunked), 413, "too-large")
    left = api.left_over()
    assert left
    assert set(left.values()) == {"doomed"}


def test_headers_over_8_kib_in_all_answer_422(shared: ApiWorld) -> None:
    fits = {"X-Meta-A": "x" * 4000, "X-Meta-B": "x" * 4000}
    assert shared.client.put(PATH, data=DATA, headers=fits).status_code in (200, 201)
    response = shared.client.put(PATH, data=DATA, headers=fits | {"X-Meta-C": "x" * 200})
    assert problem(response, 422, "not-allowed")["field"] == "X-Meta-*"


def test_metadata_that_is_no_utf8_answers_400(shared: ApiWorld) -> None:
    response = shared.client.put(PATH, data=DATA, headers={"X-Meta-A": "\xff"})
    assert problem(response, 400, "malformed")["field"].lower() == "x-meta-a"


def test_part_of_an_object_cannot_be_put(shared: ApiWorld) -> None:
    response = shared.client.put(PATH, data=DATA, headers={"Content-Range": "bytes 0-9/100"})
    assert problem(response, 400, "malformed")["field"] == "Content-Range"


def test_no_key_answers_503_but_lists_and_health_go_on(api: ApiWorld) -> None:
    api.client.put(PATH, data=DATA)
    api.keys.away = True
    problem(api.client.put(PATH, data=DATA), 503, "keys-unavailable")
    assert api.left_over() == {}
    problem(api.client.get(PATH), 503, "keys-unavailable")
    assert api.client.head(PATH).status_code == 200
    assert api.client.get("/v1/buckets/casa/objects").status_code == 200
    assert api.client.get("/healthz").status_code == 200


def test_upload_succeeds_while_the_queue_is_down(api: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> NoReturn:
        raise errors.QueueUnavailable("Redis is down")

    monkeypatch.setattr(api.queue, "depths", refused)
    assert api.client.put(PATH, data=DATA).status_code == 201
    status = json.loads(api.client.get("/v1/status").data)
    assert status["queues"] is None
    assert [alert["name"] for alert in status["alerts"]] == ["queue-unavailable"]


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/v1/buckets/", 404, "not-found"),
        ("POST", PATH, 405, "method-not-allowed"),
        ("DELETE", "/healthz", 405, "method-not-allowed"),
    ],
)
def test_addresses_and_methods_that_are_not_there_answer_problems(
    shared: ApiWorld, method: str, path: str, status: int, slug: str
) -> None:
    response = shared.client.open(path, method=method)
    problem(response, status, slug)
    assert ("Allow" in response.headers) == (status == 405)


def test_unexpected_error_answers_500_and_tells_nothing(
    shared: ApiWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> NoReturn:
        raise RuntimeError("secret /etc/passwd of the inside")

    monkeypatch.setattr(shared.catalogue.buckets, "get", broken)
    response = shared.client.get("/v1/buckets/casa")
    document = problem(response, 500, "internal")
    assert b"secret" not in response.data
    assert b"passwd" not in response.data
    logged = capsys.readouterr().out
    assert document["request_id"] in logged


def test_errors_of_the_inside_never_show_their_text(shared: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> NoReturn:
        raise errors.NodeRefused("AccessDenied for key AKIA123")

    monkeypatch.setattr(shared.catalogue.buckets, "get", broken)
    response = shared.client.get("/v1/buckets/casa")
    problem(response, 500, "internal")
    assert b"AKIA" not in response.data


def test_table_gives_every_public_error_a_status_and_the_others_500() -> None:
    inside = {
        errors.IntegrityError,
        errors.ConfigurationError,
        errors.KeyringError,
        errors.KeyringBusy,
        errors.BovedaError,
    }
    for kind in _all(errors.BovedaError):
        row = answer_of(kind.__new__(kind))
        hidden = kind in inside or issubclass(kind, errors.BlobStoreError)
        assert (row.status == 500 and row.slug == "internal") == hidden, kind
    assert len({row.slug for row in TABLE.values()}) == len(TABLE)


def _all(kind: type[errors.BovedaError]) -> list[type[errors.BovedaError]]:
    return [
        kind,
        *(found for child in kind.__subclasses__() for found in _all(child) if found.__module__ == "common.errors"),
    ]


def test_every_type_of_problem_is_described_at_its_address(shared: ApiWorld) -> None:
    for row in ALL:
        document = json.loads(shared.client.get(f"/problems/{row.slug}").data)
        assert document["status"] == row.status
    problem(shared.client.get("/problems/nothing"), 404, "not-found")
