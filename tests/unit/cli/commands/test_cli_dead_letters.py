"""dead-letters: listed, tried again, acknowledged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.commands.dead_letters import dead_letters
from tests.unit.cli.conftest import Run
from tests.unit.cli.stand_in import Reply, Request, StandIn, document, problem

FAILURE = {"error": "the node refused", "kind": "refused", "at": "2026-01-01T00:00:00Z"}
LETTER: dict[str, Any] = {
    "id": 7, "bucket": "casa", "key": "a/b", "blob": 0, "blob_key": "blobs/00/00", "node": "node2", "state": "missing",
    "attempts": 5, "dead_since": "2026-01-01T00:00:00Z", "first_error": FAILURE, "last_error": FAILURE,
}  # fmt: skip
ORPHAN = {**LETTER, "id": 8, "bucket": None, "node": None, "state": "doomed", "first_error": None, "last_error": None}


def pages(request: Request) -> Reply:
    if "after=" in request.path:
        return document({"dead_letters": [ORPHAN], "next": None})
    return document({"dead_letters": [LETTER], "next": "1.5-7"})


def asked(api: StandIn) -> list[tuple[str, str]]:
    return [(request.method, request.path) for request in api.requests]


def test_all_pages_are_listed_with_and_without_the_word(run: Run, api: StandIn) -> None:
    api.answer = pages
    shown = run(dead_letters).stdout
    assert shown == run(dead_letters, "list").stdout
    for words in ("casa/a/b", "node2", "the node refused (refused)", "(deleted bucket)/a/b"):
        assert words in shown
    assert json.loads(run(dead_letters, "--json").stdout) == {"dead_letters": [LETTER, ORPHAN], "next": None}
    assert asked(api)[1] == ("GET", "/v1/dead-letters?limit=1000&after=1.5-7")


def test_letters_are_tried_again_by_id_until_one_is_not_there(run: Run, api: StandIn) -> None:
    api.answer = lambda request: problem(404, "no") if "/9/" in request.path else document({"retried": 1}, 202)
    assert run(dead_letters, "retry", "7", "8").stdout == "retried 2\n"
    result = run(dead_letters, "retry", "7", "9", "8", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (3, {"retried": 1})
    assert [path for _, path in asked(api)] == [f"/v1/dead-letters/{number}/retry" for number in (7, 8, 7, 9)]


def test_all_letters_are_tried_again_at_once(run: Run, api: StandIn) -> None:
    api.answer = lambda request: document({"retried": 12}, 202)
    assert run(dead_letters, "retry", "--all").stdout == "retried 12\n"
    assert asked(api) == [("POST", "/v1/dead-letters/retry")]


def test_letters_are_acknowledged_by_id(run: Run, api: StandIn) -> None:
    api.answer = lambda request: Reply(204)
    assert json.loads(run(dead_letters, "acknowledge", "7", "8", "--json").stdout) == {"acknowledged": 2}
    assert asked(api) == [("DELETE", "/v1/dead-letters/7"), ("DELETE", "/v1/dead-letters/8")]


@pytest.mark.parametrize(
    "command", [("retry",), ("retry", "7", "--all"), ("acknowledge",), ("retry", "x"), ("acknowledge", "-1")]
)
def test_what_names_no_letter_is_wrong_use(run: Run, api: StandIn, command: tuple[str, ...]) -> None:
    assert run(dead_letters, *command).exit_code == 2
    assert api.requests == []
