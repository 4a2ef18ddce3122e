"""put, get and cat: what goes over the wire, what is left on the disk, which status a script sees."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from pathlib import Path

import pytest

from cli.commands.transfer import cat, get, put
from cli.transfer.streams import LocalFile, UploadBody, repr_digest
from common.model.sizes import MIB
from tests.unit.cli.conftest import Run, Start
from tests.unit.cli.stand_in import Reply, Request, StandIn, document, problem


def stored(request: Request) -> Reply:
    """An honest answer to a PUT."""
    _, _, _, bucket, _, key = request.path.split("/", 5)
    copies = {"wanted": 3, "stored": 1}
    return document({"bucket": bucket, "key": key, "size": len(request.body), "copies": copies}, 201)


def download(body: bytes, *, digest: bytes | None = None) -> Reply:
    sha = base64.b64encode(digest or hashlib.sha256(body).digest()).decode()
    return Reply(200, body, {"Repr-Digest": f"sha-256=:{sha}:", "ETag": '"v1"'})


# -- put


def test_a_file_is_stored_in_archivos_under_its_own_name(run: Run, api: StandIn) -> None:
    api.answer = stored
    Path("Actividad.txt").write_bytes(b"hola")
    result = run(put, "Actividad.txt")
    (request,) = api.requests
    assert (result.exit_code, request.method, request.path) == (0, "PUT", "/v1/buckets/archivos/objects/Actividad.txt")
    assert (request.body, request.headers["Content-Length"], request.headers["Content-Type"]) == (
        b"hola", "4", "text/plain",
    )  # fmt: skip
    assert result.stdout == "archivos/Actividad.txt  4 B  1/3 copies\n"


def test_several_files_go_below_a_prefix_and_are_told_in_one_document(run: Run, api: StandIn) -> None:
    api.answer = stored
    for name in ("a", "b"):
        Path(name).write_text(name)
    result = run(put, "a", "b", "fotos/2024/", "--json")
    assert [request.path for request in api.requests] == [
        "/v1/buckets/fotos/objects/2024/a", "/v1/buckets/fotos/objects/2024/b",
    ]  # fmt: skip
    assert [shown["key"] for shown in json.loads(result.stdout)["objects"]] == ["2024/a", "2024/b"]


@pytest.mark.parametrize(
    ("key", "path"),
    [("../x", "../x"), ("a//b", "a//b"), ("./a/../b", "./a/../b"), ("año?#%41", "a%C3%B1o%3F%23%2541"), ("/", "/")],
)
def test_a_key_goes_out_as_it_stands(run: Run, api: StandIn, key: str, path: str) -> None:
    api.answer = lambda request: download(b"x")
    assert run(cat, f"cubo/{key}").exit_code == 0
    assert api.requests[0].path == f"/v1/buckets/cubo/objects/{path}"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["absent"], "there is no file 'absent'"),
        (["a", "absent"], "for a destination write BUCKET/absent"),
        (["a", "b", "cubo/one"], "several files need a destination that ends in '/'"),
        (["a", "sub/a"], "is a file and could be a destination"),
        (["a", "./sub/a"], "have the same name"),
        (["sub"], "is a folder"),
        (["-"], "standard input has no name"),
        (["a", "--to", "Cubo/a"], "no such destination"),
        (["a", "--meta", "no-value"], "NAME=VALUE"),
        (["a", "--meta", "with_underscore=1"], "NAME=VALUE"),
        (["a", "--content-type", "a/b\nX-Other: c"], "printable ASCII"),
        (["a", "--content-type", "a/€"], "printable ASCII"),
        (["a", "--write-copies", "0"], "--write-copies"),
    ],
)
def test_wrong_use_of_put_ends_with_2_before_anything_is_sent(
    run: Run, api: StandIn, arguments: list[str], complaint: str
) -> None:
    Path("sub").mkdir()
    for name in ("a", "b", "sub/a"):
        Path(name).write_text(name)
    result = run(put, *arguments)
    assert (result.exit_code, api.requests) == (2, [])
    assert complaint in result.stderr


def test_what_could_be_a_file_or_a_destination_is_said_by_to(run: Run, api: StandIn) -> None:
    api.answer = stored
    Path("sub").mkdir()
    for name in ("a", "sub/a"):
        Path(name).write_text(name)
    assert run(put, "a", "--to", "sub/a").exit_code == 0
    assert [request.path for request in api.requests] == ["/v1/buckets/sub/objects/a"]


def test_headers_of_the_upload_are_those_asked_for(run: Run, api: StandIn) -> None:
    api.answer = stored
    Path("a.tar.gz").write_text("a")
    run(put, "a.tar.gz", "--meta", "Origen=clase 1", "--write-copies", "2")
    headers = api.requests[0].headers
    assert (headers["X-Meta-Origen"], headers["X-Write-Copies"]) == ("clase 1", "2")
    assert (headers["Content-Type"], "Content-Encoding" in headers) == ("application/gzip", False)


def test_a_store_that_kept_fewer_bytes_is_found_out(run: Run, api: StandIn) -> None:
    Path("a").write_text("abc")
    api.answer = lambda request: document({"bucket": "archivos", "key": "a", "size": 2, "copies": {}}, 201)
    result = run(put, "a")
    assert (result.exit_code, "3 bytes were transferred, the API tells of 2" in result.stderr) == (1, True)


def test_the_digest_of_a_file_goes_with_it(run: Run, api: StandIn) -> None:
    api.answer = stored
    Path("a").write_bytes(b"abc" * MIB)
    assert run(put, "a").exit_code == 0
    (request,) = api.requests
    assert repr_digest(request.headers["Repr-Digest"]) == hashlib.sha256(request.body).digest()


def test_a_refusal_is_understood_though_the_body_was_not_taken(run: Run, api: StandIn) -> None:
    Path("big").write_bytes(bytes(32 << 20))
    refusal = problem(413, "the object is larger than 1000 bytes")
    api.answer = lambda request: Reply(413, refusal.body, refusal.headers, unread=True)
    result = run(put, "big")
    assert (result.exit_code, result.stderr) == (1, "boveda: the object is larger than 1000 bytes\n")


def test_the_first_failure_ends_a_put_and_what_was_stored_is_told(run: Run, api: StandIn) -> None:
    for name in ("a", "b", "c"):
        Path(name).write_text(name)
    api.answer = lambda request: problem(503, "no node") if request.path.endswith("/b") else stored(request)
    result = run(put, "a", "b", "c", "--json")
    assert (result.exit_code, len(api.requests)) == (4, 2)
    assert [shown["key"] for shown in json.loads(result.stdout)["objects"]] == ["a"]
    assert json.loads(result.stderr)["status"] == 503


def test_a_file_that_gets_shorter_while_it_is_read_is_no_upload() -> None:
    body = UploadBody(io.FileIO(os.open("/dev/null", os.O_RDONLY)), "f", 3, lambda count: None)
    with pytest.raises(LocalFile, match="became shorter"):
        body.read(10)


def test_standard_input_is_sent_in_chunks_as_it_comes(start: Start, api: StandIn) -> None:
    api.answer = stored
    process = start(put, "-", "cubo/desde/stdin", "--json")
    output, _ = process.communicate(b"one" + bytes(3 << 20))
    (request,) = api.requests
    assert (process.returncode, request.body) == (0, b"one" + bytes(3 << 20))
    assert request.headers["Transfer-Encoding"] == "chunked"
    assert json.loads(output)["objects"][0]["size"] == 3 + (3 << 20)


# -- get and cat


def test_get_writes_the_file_whole_and_replaces_the_one_there(run: Run, api: StandIn) -> None:
    Path("f.txt").write_text("before")
    Path("f.txt").chmod(0o640)
    api.answer = lambda request: download(b"after" * 1000)
    result = run(get, "cubo/dir/f.txt", "--json")
    assert (result.exit_code, Path("f.txt").read_bytes()) == (0, b"after" * 1000)
    assert json.loads(result.stdout)["size"] == 5000
    assert Path("f.txt").stat().st_mode & 0o777 == 0o640
    assert os.listdir() == ["f.txt"]


def test_get_takes_a_folder_as_target_and_follows_links(run: Run, api: StandIn) -> None:
    Path("d").mkdir()
    Path("link").symlink_to("d/real")
    api.answer = lambda request: download(b"x")
    assert run(get, "cubo/a/b", "d").exit_code == 0
    assert run(get, "cubo/a/b", "link").exit_code == 0
    assert (Path("d/b").read_text(), Path("d/real").read_text(), Path("link").is_symlink()) == ("x", "x", True)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (download(b"whole", digest=hashlib.sha256(b"other").digest()), 1),
        (problem(404, "there is no object cubo/f"), 3),
        (problem(502, "damaged"), 1),
        (problem(503, "nodes are away"), 4),
        (problem(422, "key: too long"), 2),
    ],
)
def test_a_failed_get_leaves_the_old_file_and_nothing_else(run: Run, api: StandIn, reply: Reply, status: int) -> None:
    Path("f").write_text("before")
    api.answer = lambda request: reply
    result = run(get, "cubo/f")
    assert result.exit_code == status
    assert result.stderr.startswith("boveda: ")
    assert result.stderr.count("\n") == 1
    assert (os.listdir(), Path("f").read_text()) == (["f"], "before")


def test_a_coded_object_comes_back_as_it_was_stored(run: Run, api: StandIn) -> None:
    body = b"\x1f\x8b not really gzip"
    reply = download(body)
    reply.headers["Content-Encoding"] = "gzip"
    api.answer = lambda request: reply
    result = run(cat, "f")
    assert (result.exit_code, result.stdout_bytes) == (0, body)


def test_cat_joins_objects_and_stops_at_the_first_that_is_not_there(run: Run, api: StandIn) -> None:
    api.answer = lambda request: (
        problem(404, "no") if request.path.endswith("c") else download(b"1" if "a" in request.path[-1:] else b"2")
    )
    result = run(cat, "a", "b", "c", "d")
    assert (result.exit_code, result.stdout, len(api.requests)) == (3, "12", 3)


def test_get_to_a_dash_is_cat(run: Run, api: StandIn) -> None:
    api.answer = lambda request: download(b"x")
    assert run(get, "cubo/b", "-").stdout == "x"
    assert os.listdir() == []


def test_get_asks_for_a_file_name_where_the_key_has_none(run: Run, api: StandIn) -> None:
    for key in ("cubo/dir/", "cubo/..", "cubo/a/."):
        assert run(get, key).exit_code == 2
    assert api.requests == []


def test_get_into_an_absent_folder_says_so(run: Run, api: StandIn) -> None:
    api.answer = lambda request: download(b"x")
    result = run(get, "a", "absent/f")
    assert (result.exit_code, "No such file or directory" in result.stderr) == (1, True)


@pytest.mark.parametrize("header", ["", "sha-512=:AAAA:", "sha-256=AAAA", "sha-256=:%%:"])
def test_a_digest_that_is_not_there_is_not_compared(header: str) -> None:
    assert repr_digest(header) is None


def test_metadata_beyond_ascii_goes_out_as_utf_8(run: Run, api: StandIn) -> None:
    api.answer = stored
    Path("a").write_text("a")
    assert run(put, "a", "--meta", "autor=José").exit_code == 0
    assert api.requests[0].headers["X-Meta-autor"].encode("latin-1").decode() == "José"


LONG = "ж" * 130  # 260 bytes: a key, and no file's name


@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_what_this_machine_refuses_is_a_line_and_no_trace(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_json: bool
) -> None:
    for name in ("BOVEDA_URL", "BOVEDA_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BOVEDA_HOME", str(tmp_path / "a-file"))
    (tmp_path / "a-file").write_text("")
    for words in ("a-file", "File name too long"):
        ran = run(get, f"archivos/{LONG}", *(["--json"] if as_json else []))
        assert ran.exit_code == 1
        assert words in ran.stderr
        assert isinstance(ran.exception, SystemExit)
        monkeypatch.setenv("BOVEDA_URL", "http://127.0.0.1:1")
