"""Nodes over HTTP: added, drained, paused, taken in, removed, given up, and what would go with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.http.schemas import LockedNameList, LossDocument, NodeDocument, NodeList
from common.catalogue.sql.copies.locked_names import remember
from common.model.nodes import NodeMode
from common.model.times import rfc3339
from common.model.work import Locked
from tests.unit.api.conftest import MakeApi
from tests.unit.api.world import ApiWorld, problem

OBJECTS = "/v1/buckets/casa/objects"
NEW: dict[str, Any] = {"name": "n9", "endpoint": "http://127.0.0.1:9900", "bucket": "blobs", "credentials": "file"}
SECRET = "a secret that nobody is shown"


def with_credentials(api: ApiWorld, content: str | None = None) -> ApiWorld:
    folder = api.settings.credentials
    folder.mkdir(exist_ok=True)
    pair = {"access_key": "who", "secret_key": SECRET}
    (folder / "file.json").write_text(json.dumps(pair) if content is None else content)
    return api


def names(api: ApiWorld) -> list[str]:
    return [node.spec.name for node in api.catalogue.nodes.all()]


def patch(api: ApiWorld, change: dict[str, Any], name: str = "n1") -> NodeDocument:
    answer = api.client.patch(f"/v1/nodes/{name}", json=change)
    assert answer.status_code == 200, answer.data
    return NodeDocument.model_validate_json(answer.data)


def mode(api: ApiWorld, name: str = "n1") -> tuple[NodeMode, float | None]:
    return next((node.mode, node.mode_until) for node in api.catalogue.nodes.all() if node.spec.name == name)


def test_names_that_were_given_up_on_a_node_are_listed_and_counted(api: ApiWorld) -> None:
    node = next(node for node in api.catalogue.nodes.all() if node.spec.name == "n1")
    assert api.client.get("/v1/nodes/n1/locked-names").json == {"locked_names": []}
    locked = Locked("0123abcd", "the node answered 500")
    api.catalogue.database.write(
        lambda connection: remember(connection, [(node.id, "ab" * 16, locked, 1_800_000_000.0)])
    )
    (shown,) = LockedNameList.model_validate_json(api.client.get("/v1/nodes/n1/locked-names").data).locked_names
    assert shown.name == f"blobs/ab/{'ab' * 16}.0123abcd"
    assert (shown.since, shown.error) == (rfc3339(1_800_000_000.0), "the node answered 500")
    assert NodeDocument.model_validate_json(api.client.get("/v1/nodes/n1").data).locked_names == 1
    nodes = NodeList.model_validate_json(api.client.get("/v1/nodes").data).nodes
    assert [node.name for node in nodes if node.locked_names] == ["n1"]
    alerts = [alert["name"] for alert in json.loads(api.client.get("/v1/status").data)["alerts"]]
    assert "names-locked" in alerts


# -- adding


def test_a_node_is_added_and_shown(api: ApiWorld) -> None:
    with_credentials(api)
    answer = api.client.post("/v1/nodes", json={**NEW, "zone": "attic", "weight": 2, "endpoint": "HTTP://LocalHost:1"})
    assert answer.status_code == 201, answer.data
    node = NodeDocument.model_validate_json(answer.data)
    assert (node.name, node.endpoint, node.zone, node.weight) == ("n9", "http://localhost:1", "attic", 2.0)
    assert (node.mode, node.copies, node.safe_to_remove) == ("active", 0, False)
    assert NodeDocument.model_validate_json(api.client.get("/v1/nodes/n9").data) == node
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        *(({"name": name}, "name") for name in ("", "N", "a/b", "-a", "a" * 64, "n9\n", "../x")),
        *(
            ({"endpoint": endpoint}, "endpoint")
            for endpoint in (
                "", "127.0.0.1:9000", "ftp://host", "http://", "http://host/path", "http://host?x", "http://host#x",
                "http://user:pass@host", "http://host:99999", "http://host:x", "http://host:0", "http://ho st",
                "http://host:9000\n", "http://[::1",
            )
        ),
        *(({"weight": weight}, "weight") for weight in (-1, "1", True, None)),
        *(({"credentials": name}, "credentials") for name in ("", "../file", "a/b", "absent", "file.json", 1)),
        ({"bucket": "b"}, "bucket"),
        ({"zone": "a b"}, "zone"),
        ({"color": 1}, "color"),
    ],
)  # fmt: skip
def test_a_node_that_cannot_be_is_refused_naming_the_field(
    shared: ApiWorld, change: dict[str, Any], field: str
) -> None:
    with_credentials(shared)
    answer = shared.client.post("/v1/nodes", json={**NEW, **change})
    assert problem(answer, 422, "not-allowed")["field"] == field
    assert str(shared.settings.home) not in answer.text
    assert names(shared) == ["n0", "n1", "n2"]


@pytest.mark.parametrize("weight", [b"NaN", b"Infinity", b"1e999"])
def test_a_weight_that_is_no_finite_number_is_refused(shared: ApiWorld, weight: bytes) -> None:
    body = json.dumps({**NEW, "weight": 0}).encode().replace(b'"weight": 0', b'"weight": ' + weight)
    assert with_credentials(shared).client.post("/v1/nodes", data=body).status_code in (400, 422)
    assert names(shared) == ["n0", "n1", "n2"]


@pytest.mark.parametrize("content", ["", "[]", "{}", SECRET, '{"access_key": 1, "secret_key": 2}'])
def test_credentials_that_cannot_be_used_are_refused_without_showing_them(shared: ApiWorld, content: str) -> None:
    answer = with_credentials(shared, content).client.post("/v1/nodes", json=NEW)
    assert problem(answer, 422, "not-allowed")["field"] == "credentials"
    assert not content or content not in answer.text
    assert str(shared.settings.home) not in answer.text


def test_a_name_or_a_place_in_use_is_a_conflict(shared: ApiWorld) -> None:
    with_credentials(shared)
    for same in ({"name": "n1"}, {"endpoint": "http://127.0.0.1:9001"}):
        problem(shared.client.post("/v1/nodes", json={**NEW, **same}), 409, "conflict")
    assert names(shared) == ["n0", "n1", "n2"]


# -- modes


def test_a_node_is_drained_and_resumed(api: ApiWorld) -> None:
    api.client.put(f"{OBJECTS}/a", data=b"1")
    drained = patch(api, {"mode": "draining"})
    assert (drained.mode, drained.state, drained.safe_to_remove) == ("draining", "draining", False)
    assert mode(api) == (NodeMode.DRAINING, None)
    assert patch(api, {"mode": "active"}).state == "up"


def test_a_pause_has_an_end_or_none(make_api: MakeApi) -> None:
    api = make_api(clock=lambda: 1_000_000.0)
    assert patch(api, {"mode": "paused", "until": rfc3339(1_000_060.5)}).mode_until == rfc3339(1_000_060.5)
    assert mode(api) == (NodeMode.PAUSED, 1_000_060.5)
    assert patch(api, {"mode": "paused", "until": "1970-01-12T15:47:41+02:00"}).mode_until == rfc3339(1_000_061.0)
    for forever in ({"mode": "paused", "until": None}, {"mode": "paused"}):
        assert patch(api, forever).mode_until is None
    assert mode(api) == (NodeMode.PAUSED, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mode": "retired"}, "mode"),
        ({"mode": "flying"}, "mode"),
        ({"mode": 1}, "mode"),
        ({"mode": "draining", "accept": True}, "mode"),
        ({"mode": "draining", "until": None}, "until"),
        ({"accept": True, "until": "2100-01-01T00:00:00Z"}, "until"),
        ({"mode": "paused", "until": "2001-01-01T00:00:00Z"}, "until"),
        ({"mode": "paused", "until": "tomorrow"}, "until"),
        ({"mode": "paused", "until": "2100-01-01"}, "until"),
        ({"mode": "paused", "until": "2100-01-01T00:00:00"}, "until"),
        ({"mode": "paused", "until": "2100-13-01T00:00:00Z"}, "until"),
        ({"mode": "paused", "until": "2100-01-01T00:00:00Z\n"}, "until"),
        ({"mode": "paused", "until": 4102444800}, "until"),
        ({"mode": "draining", "dry_run": "yes"}, "dry_run"),
    ],
)
def test_a_change_that_cannot_be_is_refused_naming_the_field(
    shared: ApiWorld, change: dict[str, Any], field: str
) -> None:
    assert problem(shared.client.patch("/v1/nodes/n1", json=change), 422, "not-allowed")["field"] == field
    assert mode(shared) == (NodeMode.ACTIVE, None)


def test_a_dry_run_shows_what_a_drain_would_move_and_changes_nothing(api: ApiWorld) -> None:
    api.client.put("/v1/buckets/casa", json={"copies": 2})
    for key in "abcdef":
        api.client.put(f"{OBJECTS}/{key}", data=b"1")
    api.catalogue.objects.copies("casa", "a")
    before = patch(api, {"mode": "active"})
    shown = patch(api, {"mode": "draining", "dry_run": True})
    assert shown.preview is not None
    assert sum(shown.preview.to.values()) == before.copies + before.missing
    assert set(shown.preview.to) <= {"n0", "n2"}
    assert (shown.preview.copies, shown.preview.bytes) == (before.copies, before.bytes)
    assert (shown.preview.unplaced, shown.preview.estimated) == (0, False)
    assert mode(api) == (NodeMode.ACTIVE, None)
    for change in ({"mode": "paused"}, {"mode": "active"}, {"accept": True}):
        still = patch(api, {**change, "dry_run": True}).preview
        assert still is not None
        assert (still.copies, still.to, still.unplaced) == (before.copies, {}, 0)
    assert api.nodes.accepted == []


def test_a_dry_run_tells_what_would_fit_nowhere(api: ApiWorld) -> None:
    api.client.put(f"{OBJECTS}/a", data=b"1")  # wanted on all three nodes
    preview = patch(api, {"mode": "draining", "dry_run": True}).preview
    assert preview is not None
    assert (preview.to, preview.unplaced) == ({}, 1)


def test_a_large_drain_is_estimated_from_a_part(api: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    api.client.put("/v1/buckets/casa", json={"copies": 1})
    for number in range(40):
        api.client.put(f"{OBJECTS}/{number}", data=b"1")
    monkeypatch.setattr("api.status.node_loss.LOOKED_AT_MOST", 4)
    preview = patch(api, {"mode": "draining", "dry_run": True}).preview
    assert preview is not None
    assert preview.estimated
    assert abs(sum(preview.to.values()) - preview.copies) <= 1


# -- removing


def test_only_an_empty_drained_node_is_removed(api: ApiWorld) -> None:
    api.client.put("/v1/buckets/casa", json={"copies": 1})
    problem(api.client.delete("/v1/nodes/n1"), 409, "conflict")
    assert patch(api, {"mode": "draining"}).safe_to_remove
    assert NodeDocument.model_validate_json(api.client.get("/v1/nodes/n1").data).safe_to_remove
    assert api.client.delete("/v1/nodes/n1").status_code == 204
    assert names(api) == ["n0", "n2"]
    problem(api.client.delete("/v1/nodes/n1"), 404, "no-such-node")
    problem(api.client.get("/v1/nodes/n1"), 404, "no-such-node")


def test_a_drained_node_with_copies_is_not_removed(api: ApiWorld) -> None:
    api.client.put(f"{OBJECTS}/a", data=b"1")
    assert not patch(api, {"mode": "draining"}).safe_to_remove
    problem(api.client.delete("/v1/nodes/n1"), 409, "conflict")
    problem(api.client.delete("/v1/nodes/n1?lost=false"), 409, "conflict")
    assert names(api) == ["n0", "n1", "n2"]


def test_a_lost_node_is_given_up_and_what_only_it_had_is_counted(api: ApiWorld) -> None:
    api.client.put("/v1/buckets/casa", json={"copies": 1})
    for key in "abcdefgh":
        api.client.put(f"{OBJECTS}/{key}", data=b"1")
    only = sum(
        copy.node_id == node.id and node.spec.name == "n1"
        for key in "abcdefgh"
        for copy in api.catalogue.objects.find("casa", key).blobs[0].copies
        for node in api.catalogue.nodes.all()
    )
    for _ in range(2):  # the same when it is said again
        answer = api.client.delete("/v1/nodes/n1?lost=true")
        assert (answer.status_code, json.loads(answer.data)) == (200, {"lost": only})
    assert mode(api) == (NodeMode.RETIRED, None)
    problem(api.client.delete("/v1/nodes/n1"), 409, "conflict")
    problem(api.client.patch("/v1/nodes/n1", json={"mode": "draining"}), 409, "conflict")


@pytest.mark.parametrize(("query", "field"), [("lost=yes", "lost"), ("lost=", "lost"), ("color=1", "color")])
def test_a_wrong_parameter_removes_nothing(shared: ApiWorld, query: str, field: str) -> None:
    assert problem(shared.client.delete(f"/v1/nodes/n1?{query}"), 422, "not-allowed")["field"] == field
    assert mode(shared) == (NodeMode.ACTIVE, None)


def test_a_node_that_is_not_there_answers_404_everywhere(shared: ApiWorld) -> None:
    for answer in (
        shared.client.get("/v1/nodes/nadie"),
        shared.client.patch("/v1/nodes/nadie", json={"mode": "draining"}),
        shared.client.delete("/v1/nodes/nadie"),
        shared.client.delete("/v1/nodes/nadie?lost=true"),
        shared.client.post("/v1/nodes/simulate-loss", json={"nodes": ["n1", "nadie"]}),
    ):
        problem(answer, 404, "no-such-node")


# -- what if


def simulate(api: ApiWorld, *nodes: str) -> LossDocument:
    return LossDocument.model_validate_json(
        api.client.post("/v1/nodes/simulate-loss", json={"nodes": list(nodes)}).data
    )


def test_the_loss_of_nodes_is_told_with_names_and_changes_nothing(
    api: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in "abc":
        api.client.put(f"{OBJECTS}/{key}", data=b"1")
    safe = simulate(api, "n0", "n1", "n2")
    assert (safe.unavailable, safe.at_one_copy) == (3, 0)
    assert sorted((name.bucket, name.key) for name in safe.objects) == [("casa", key) for key in "abc"]
    each = [simulate(api, name) for name in ("n0", "n1", "n2")]
    assert sum(loss.unavailable for loss in each) == 3, "each has one copy so far"
    assert [loss.unavailable + loss.at_one_copy for loss in each] == [3, 3, 3]
    monkeypatch.setattr("api.status.node_loss.NAMED_MOST", 2)
    assert len(simulate(api, "n0", "n1", "n2").objects) == 2
    assert {mode(api, name) for name in ("n0", "n1", "n2")} == {(NodeMode.ACTIVE, None)}


@pytest.mark.parametrize("body", [{}, {"nodes": []}, {"nodes": "n1"}, {"nodes": [1]}])
def test_a_loss_of_nothing_is_refused(shared: ApiWorld, body: dict[str, Any]) -> None:
    answer = shared.client.post("/v1/nodes/simulate-loss", json=body)
    assert problem(answer, 422, "not-allowed")["field"].startswith("nodes")
