"""ls, stat, rm, mb, rb."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cli.commands.objects import ls, mb, rb, rm, stat
from tests.unit.cli.conftest import Run
from tests.unit.cli.stand_in import Reply, Request, StandIn, document, problem


def thing(key: str) -> dict[str, Any]:
    return {
        "bucket": "cubo", "key": key, "version": "v", "size": 2048, "etag": '"v"', "content_type": "text/plain",
        "metadata": {"origen": "clase"}, "created_at": "2026-01-02T03:04:05.678901Z",
        "copies": {"wanted": 3, "stored": 2}, "state": "replicating",
    }  # fmt: skip


def paged(request: Request) -> Reply:
    """Two pages of one listing."""
    query = parse_qs(urlsplit(request.path).query)
    if "after" not in query:
        return document({"objects": [thing("b"), thing("é")], "prefixes": ["c/"], "next": "é"})
    assert query["after"] == ["é"]
    return document({"objects": [thing("ü")], "prefixes": [], "next": None})


def test_ls_follows_the_pages_and_merges_prefixes_in_order(run: Run, api: StandIn) -> None:
    api.answer = paged
    result = run(ls, "cubo/")
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["b", "c/", "é", "ü"]
    assert result.stdout.startswith("2026-01-02T03:04:05Z  2.0 KiB  replicating  b\n")


def test_ls_as_json_is_one_document(run: Run, api: StandIn) -> None:
    api.answer = paged
    found = json.loads(run(ls, "cubo", "--json").stdout)
    assert [shown["key"] for shown in found["objects"]] == ["b", "é", "ü"]
    assert (found["prefixes"], found["next"]) == (["c/"], None)


@pytest.mark.parametrize(
    ("arguments", "prefix", "delimiter"),
    [(["cubo"], "", "/"), (["cubo/a/b"], "a/b", "/"), (["cubo/a/", "-r"], "a/", "")],
)
def test_ls_asks_for_the_prefix_and_folds_unless_recursive(
    run: Run, api: StandIn, arguments: list[str], prefix: str, delimiter: str
) -> None:
    api.answer = lambda request: document({"objects": [], "prefixes": [], "next": None})
    assert run(ls, *arguments).output == ""
    target = urlsplit(api.requests[0].path)
    query = parse_qs(target.query, keep_blank_values=True)
    assert (target.path, query["prefix"], query["delimiter"]) == ("/v1/buckets/cubo/objects", [prefix], [delimiter])


def test_ls_without_a_name_lists_the_buckets(run: Run, api: StandIn) -> None:
    api.answer = lambda request: document({"buckets": [{"name": "archivos", "copies": 3, "write_copies": 1}]})
    assert run(ls).stdout.splitlines()[1].split() == ["archivos", "3", "1"]
    assert json.loads(run(ls, "--json").stdout)["buckets"][0]["name"] == "archivos"


def test_stat_shows_the_object_and_the_table_of_its_copies(run: Run, api: StandIn) -> None:
    copy = {"blob": 0, "node": "node2", "state": "missing", "verified_at": None, "attempts": 4,
            "next_attempt_at": None, "last_error": "refused", "blob_key": "blobs/aa/1aa"}  # fmt: skip
    api.answer = lambda request: document({"object": thing("a/b"), "copies": [copy]})
    text = run(stat, "cubo/a/b").stdout
    assert "2 of 3" in text
    assert "2048 (2.0 KiB)" in text
    assert text.splitlines()[-1].split() == ["0", "node2", "missing", "-", "4", "-", "refused", "blobs/aa/1aa"]
    shown = json.loads(run(stat, "cubo/a/b", "--json").stdout)
    assert (shown["object"]["key"], shown["copies"]) == ("a/b", [copy])
    assert {request.path for request in api.requests} == {"/v1/buckets/cubo/copies/a/b"}


def test_stat_of_an_absent_object_is_status_3(run: Run, api: StandIn) -> None:
    api.answer = lambda request: problem(404, "there is no object")
    assert run(stat, "cubo/a").exit_code == 3


def test_stat_of_a_bucket_shows_its_settings(run: Run, api: StandIn) -> None:
    api.answer = lambda request: document({"name": "cubo", "copies": 3, "objects": 7, "bytes": 4096})
    assert "4096 (4.0 KiB)" in run(stat, "cubo/").stdout
    assert api.requests[0].path == "/v1/buckets/cubo"


def test_rm_stops_at_the_first_failure_and_tells_what_is_gone(run: Run, api: StandIn) -> None:
    api.answer = lambda request: problem(404, "no") if request.path.endswith("/b") else Reply(204)
    result = run(rm, "a", "b", "c", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (3, {"deleted": ["archivos/a"]})
    assert [(request.method, request.path) for request in api.requests] == [
        ("DELETE", "/v1/buckets/archivos/objects/a"), ("DELETE", "/v1/buckets/archivos/objects/b"),
    ]  # fmt: skip


def test_mb_sends_only_the_settings_that_were_given(run: Run, api: StandIn) -> None:
    api.answer = lambda request: document({"name": "cubo", "copies": 2, "write_copies": 1})
    run(mb, "cubo")
    run(mb, "cubo", "--copies", "2", "--json")
    assert [(request.method, request.path, json.loads(request.body)) for request in api.requests] == [
        ("PUT", "/v1/buckets/cubo", {}), ("PUT", "/v1/buckets/cubo", {"copies": 2}),
    ]  # fmt: skip


def test_rb_deletes_the_bucket(run: Run, api: StandIn) -> None:
    api.answer = lambda request: Reply(204)
    assert run(rb, "cubo").stdout == "deleted cubo\n"
    assert (api.requests[0].method, api.requests[0].path) == ("DELETE", "/v1/buckets/cubo")


@pytest.mark.parametrize("name", ["ab", "Cubo", "a..b", "10.0.0.1", "-ab", "a/b"])
def test_a_name_no_bucket_can_have_is_wrong_use(run: Run, api: StandIn, name: str) -> None:
    assert (run(mb, "--", name).exit_code, api.requests) == (2, [])


@pytest.mark.parametrize("name", ["", "x" * 1025, "a\nb", "Cubo/a", "cubo/"])
def test_a_name_no_object_can_have_is_wrong_use(run: Run, api: StandIn, name: str) -> None:
    assert (run(rm, name).exit_code, api.requests) == (2, [])
