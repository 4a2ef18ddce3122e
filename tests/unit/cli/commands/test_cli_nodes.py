"""nodes: listed, added, drained, paused, resumed, taken in, removed; and the question before what is dangerous."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from click.testing import CliRunner

from cli.commands.nodes import nodes
from tests.unit.cli.conftest import Run
from tests.unit.cli.stand_in import Reply, Request, StandIn, document, problem

NODE: dict[str, Any] = {
    "name": "node1", "mode": "active", "mode_until": None,
    "state": "down", "writable": False, "copies": 3, "bytes": 3 << 20, "missing": 2,
    "last_seen": None, "last_error": "refused", "safe_to_remove": False, "locked_names": 0,
}  # fmt: skip
PREVIEW = {"copies": 3, "bytes": 3 << 20, "to": {"node2": 2}, "unplaced": 1, "estimated": False}
LOSS = {"unavailable": 2, "at_one_copy": 5, "objects": [{"bucket": "casa", "key": "a"}, {"bucket": "casa", "key": "b"}]}


def asked(api: StandIn) -> list[tuple[str, str, Any]]:
    return [(request.method, request.path, json.loads(request.body or b"null")) for request in api.requests]


@pytest.fixture
def answers(api: StandIn) -> dict[str, Any]:
    """What each method is answered with; a dry run and a simulation have their own."""
    given: dict[str, Any] = {"PATCH": NODE, "GET": NODE, "POST": NODE, "DELETE": None}

    def answer(request: Request) -> Reply:
        if request.path.endswith("/simulate-loss"):
            return document(LOSS)
        if b"dry_run" in request.body:
            return document({**NODE, "preview": PREVIEW})
        value = given[request.method]
        return Reply(204) if value is None else document(value)

    api.answer = answer
    return given


def test_nodes_lists_them_with_and_without_the_word(run: Run, api: StandIn) -> None:
    api.answer = lambda request: document({"nodes": [NODE]})
    assert run(nodes).stdout == run(nodes, "list").stdout
    assert "down, not writable" in run(nodes).stdout
    assert json.loads(run(nodes, "--json").stdout) == json.loads(run(nodes, "list", "--json").stdout)


def test_the_list_tells_when_a_pause_ends_and_what_can_be_removed(run: Run, api: StandIn) -> None:
    paused = {**NODE, "writable": True, "state": "paused", "mode_until": "2100-01-01T00:00:00Z"}
    empty = {**NODE, "writable": True, "state": "draining", "safe_to_remove": True}
    api.answer = lambda request: document({"nodes": [paused, empty]})
    _, first, second = run(nodes).stdout.splitlines()
    assert "paused, until 2100-01-01T00:00:00Z " in first
    assert "draining, empty: can be removed " in second


def test_nodes_of_an_api_that_is_away_is_status_4(run: Run, api: StandIn) -> None:
    api.answer = lambda request: problem(503, "the catalogue is away")
    assert (run(nodes).exit_code, run(nodes, "--json").exit_code) == (4, 4)


def test_help_is_the_familys_and_a_word_that_is_no_command_is_wrong_use(run: Run, api: StandIn) -> None:
    assert "simulate-loss" in run(nodes, "--help").stdout
    assert run(nodes, "fly").exit_code == 2
    assert api.requests == []


def test_a_node_is_accepted_by_name(run: Run, api: StandIn, answers: dict[str, Any]) -> None:
    answers["PATCH"] = {**NODE, "state": "up"}
    assert run(nodes, "accept", "node1").stdout == "accepted node1: up\n"
    assert asked(api) == [("PATCH", "/v1/nodes/node1", {"accept": True})]


def test_a_node_is_added_with_credentials_of_its_own_name_unless_told(
    run: Run, api: StandIn, answers: dict[str, Any]
) -> None:
    assert run(nodes, "add", "node4", "http://host:9", "blobs").exit_code == 0
    options = ("--credentials", "file", "--zone", "attic", "--weight", "0.5", "--region", "eu")
    assert json.loads(run(nodes, "add", "node4", "http://host:9", "blobs", *options, "--json").stdout) == NODE
    place = {"name": "node4", "endpoint": "http://host:9", "bucket": "blobs"}
    first = {**place, "credentials": "node4", "region": "us-east-1", "zone": "", "weight": 1.0}
    second = {**place, "credentials": "file", "region": "eu", "zone": "attic", "weight": 0.5}
    assert asked(api) == [("POST", "/v1/nodes", first), ("POST", "/v1/nodes", second)]


@pytest.mark.parametrize(("status", "exit_code"), [(404, 3), (409, 1), (422, 2), (503, 4)])
def test_a_refusal_is_an_exit_status(run: Run, api: StandIn, status: int, exit_code: int) -> None:
    api.answer = lambda request: problem(status, "no")
    for command in (("resume", "n"), ("remove", "n"), ("drain", "n", "--yes"), ("simulate-loss", "n")):
        assert run(nodes, *command).exit_code == exit_code


# -- draining


def test_a_drain_shows_where_the_copies_go_and_asks(api: StandIn, run: Run, answers: dict[str, Any]) -> None:
    refused = CliRunner().invoke(nodes, ["drain", "node1"], input="n\n")
    assert refused.exit_code == 1
    for words in ("3 copies", "3.0 MiB", "2 to node2", "1 fit nowhere", "Drain it?"):
        assert words in refused.stderr
    assert asked(api) == [("PATCH", "/v1/nodes/node1", {"mode": "draining", "dry_run": True})]
    assert CliRunner().invoke(nodes, ["drain", "node1"], input="y\n").exit_code == 0
    assert asked(api)[-1] == ("PATCH", "/v1/nodes/node1", {"mode": "draining"})


def test_a_drain_for_a_script_does_not_ask(run: Run, api: StandIn, answers: dict[str, Any]) -> None:
    answers["PATCH"] = {**NODE, "mode": "draining", "state": "draining"}
    assert json.loads(run(nodes, "drain", "node1", "--yes", "--json").stdout) == answers["PATCH"]
    assert asked(api) == [("PATCH", "/v1/nodes/node1", {"mode": "draining"})]


def draining(left: list[int]) -> Callable[[Request], Reply]:
    """A node with these many copies left at each look; safe to remove at the last."""

    def answer(request: Request) -> Reply:
        count = left.pop(0) if request.method == "GET" and request.body == b"" and len(left) > 1 else left[0]
        node = {**NODE, "mode": "draining", "state": "draining", "copies": count, "missing": 0}
        return document({**node, "safe_to_remove": count == 0})

    return answer


def test_a_drain_is_followed_until_the_node_can_be_removed(
    run: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.waiting.LOOK_SECONDS", 0.001)
    api.answer = draining([3, 3, 2, 2, 1, 1, 0])
    result = run(nodes, "drain", "node1", "--yes", "--wait")
    assert result.stdout == "can be removed: node1: draining\n"
    assert len(api.requests) > 2


def test_a_drain_that_somebody_ended_is_not_waited_for(run: Run, api: StandIn, answers: dict[str, Any]) -> None:
    result = run(nodes, "drain", "node1", "--yes", "--wait")
    assert result.exit_code == 1
    assert "not draining any more" in result.stderr


# -- pausing


@pytest.mark.parametrize(
    ("duration", "seconds"), [("90s", 90), ("30m", 1800), ("30 min", 1800), ("2h", 7200), ("1d", 86400)]
)
def test_a_pause_for_a_duration_ends_that_much_later(
    run: Run, api: StandIn, answers: dict[str, Any], duration: str, seconds: int
) -> None:
    before = time.time()
    assert run(nodes, "pause", "node1", "--for", duration).exit_code == 0
    ((_, _, change),) = asked(api)
    assert change["mode"] == "paused"
    assert before + seconds - 1 <= datetime.fromisoformat(change["until"]).timestamp() <= time.time() + seconds


def test_a_pause_has_a_given_end_or_none_and_is_resumed(run: Run, api: StandIn, answers: dict[str, Any]) -> None:
    run(nodes, "pause", "node1", "--until", "2100-01-01T00:00:00Z")
    run(nodes, "pause", "a/b")
    run(nodes, "resume", "node1")
    assert asked(api) == [
        ("PATCH", "/v1/nodes/node1", {"mode": "paused", "until": "2100-01-01T00:00:00Z"}),
        ("PATCH", "/v1/nodes/a%2Fb", {"mode": "paused", "until": None}),
        ("PATCH", "/v1/nodes/node1", {"mode": "active"}),
    ]


@pytest.mark.parametrize("options", [("--for", "soon"), ("--for", "0s"), ("--for", "1h", "--until", "x")])
def test_a_pause_without_a_clear_end_is_wrong_use(run: Run, api: StandIn, options: tuple[str, ...]) -> None:
    assert run(nodes, "pause", "node1", *options).exit_code == 2
    assert api.requests == []


# -- removing


def test_an_empty_node_is_removed_without_a_question(run: Run, api: StandIn, answers: dict[str, Any]) -> None:
    assert run(nodes, "remove", "node1").stdout == "removed node1\n"
    assert json.loads(run(nodes, "remove", "node1", "--json").stdout) == {"name": "node1"}
    assert asked(api) == [("DELETE", "/v1/nodes/node1", None)] * 2


def test_giving_a_node_up_shows_what_would_be_lost_and_asks(run: Run, api: StandIn, answers: dict[str, Any]) -> None:
    refused = CliRunner().invoke(nodes, ["remove", "node1", "--lost"], input="\n")
    assert refused.exit_code == 1
    assert "2 objects could not be read, 5 only from one copy" in refused.stderr
    assert [method for method, _, _ in asked(api)] == ["POST"]
    answers["DELETE"] = {"lost": 2}
    assert "2 blobs have no other copy" in run(nodes, "remove", "node1", "--lost", "--yes").stdout
    assert asked(api)[-1] == ("DELETE", "/v1/nodes/node1?lost=true", None)


def test_a_loss_is_simulated_for_all_nodes_together(run: Run, api: StandIn, answers: dict[str, Any]) -> None:
    shown = run(nodes, "simulate-loss", "node1", "node2").stdout
    assert shown.splitlines()[1:] == ["casa/a", "casa/b"]
    assert json.loads(run(nodes, "simulate-loss", "node1", "--json").stdout) == LOSS
    assert asked(api)[0] == ("POST", "/v1/nodes/simulate-loss", {"nodes": ["node1", "node2"]})
