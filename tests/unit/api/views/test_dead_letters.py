"""Dead letters over HTTP."""

from __future__ import annotations

import json

import pytest

from api.http.schemas import DeadLetterList
from common.model.copies import CopyState
from common.model.names import blob_name
from common.model.work import CopyAction, Outcome
from common.queue.base import Queue, TaskName
from tests.unit.api.world import ApiWorld, problem

OBJECTS = "/v1/buckets/casa/objects"
LETTERS = "/v1/dead-letters"


def die(api: ApiWorld, key: str) -> str:
    """An object whose two missing copies are dead; its blob."""
    api.client.put(f"{OBJECTS}/{key}", data=b"1")
    blob_id = api.catalogue.objects.find("casa", key).blobs[0].blob.id
    claims = api.catalogue.copies.claim(CopyAction.REPLICATE, [blob_id], list(api.nodes.rows), "w", 60)
    api.catalogue.copies.end(
        [
            Outcome(
                claim.copy_id, claim.fence, CopyState.MISSING, error="no", kind="node", failures={"node": 12}, dead=True
            )
            for claim in claims
        ]
    )
    while api.queue.take(Queue.REPLICATE):
        pass
    return blob_id


def listed(api: ApiWorld, query: str = "") -> DeadLetterList:
    return DeadLetterList.model_validate_json(api.client.get(f"{LETTERS}?{query}").data)


def test_dead_letters_are_listed_in_pages_with_their_errors(api: ApiWorld) -> None:
    blob_id = die(api, "a")
    die(api, "b")
    (letter, *rest) = listed(api).dead_letters
    assert len(rest) == 3
    assert (letter.bucket, letter.key, letter.blob, letter.blob_key) == ("casa", "a", 0, blob_name(blob_id))
    assert letter.node in ("n0", "n1", "n2")
    assert (letter.state, letter.attempts) == ("missing", 1)
    assert letter.first_error is not None
    assert (letter.first_error.error, letter.first_error.kind) == ("no", "node")
    first = listed(api, "limit=3")
    assert first.next is not None
    second = listed(api, f"limit=3&after={first.next}")
    assert second.next is None
    assert first.dead_letters + second.dead_letters == [letter, *rest]


def test_a_letter_that_is_tried_again_is_enqueued_at_once(api: ApiWorld) -> None:
    blob_id = die(api, "a")
    (letter, other) = listed(api).dead_letters
    answer = api.client.post(f"{LETTERS}/{letter.id}/retry")
    assert (answer.status_code, json.loads(answer.data)) == (202, {"retried": 1})
    assert api.queue.take(Queue.REPLICATE) == (TaskName.REPLICATE, (blob_id,))
    assert listed(api).dead_letters == [other]
    problem(api.client.post(f"{LETTERS}/{letter.id}/retry"), 404, "no-such-dead-letter")


def test_all_letters_are_tried_again(api: ApiWorld) -> None:
    blob_ids = {die(api, key) for key in "ab"}
    answer = api.client.post(f"{LETTERS}/retry")
    assert (answer.status_code, json.loads(answer.data)) == (202, {"retried": 4})
    taken = api.queue.take(Queue.REPLICATE)
    assert taken is not None
    assert set(taken[1]) == blob_ids
    assert listed(api).dead_letters == []
    assert json.loads(api.client.post(f"{LETTERS}/retry").data) == {"retried": 0}


def test_an_acknowledged_letter_leaves_the_list_and_the_alarm(api: ApiWorld) -> None:
    die(api, "a")
    for letter in listed(api).dead_letters:
        status = json.loads(api.client.get("/v1/status").data)
        assert "dead-letters" in [alert["name"] for alert in status["alerts"]]
        assert api.client.delete(f"{LETTERS}/{letter.id}").status_code == 204
        problem(api.client.delete(f"{LETTERS}/{letter.id}"), 404, "no-such-dead-letter")
    status = json.loads(api.client.get("/v1/status").data)
    assert status["dead_letters"] == 0
    assert "dead-letters" not in [alert["name"] for alert in status["alerts"]]
    assert api.queue.take(Queue.REPLICATE) is None


@pytest.mark.parametrize("letter_id", ["0", "9" * 18, "9" * 19, "x", "-1", "%00"])
def test_a_letter_that_is_not_there_answers_404(shared: ApiWorld, letter_id: str) -> None:
    for method, path in (("DELETE", ""), ("POST", "/retry")):
        raw = {"RAW_URI": f"{LETTERS}/{letter_id}{path}"}
        problem(shared.client.open("/", method=method, environ_overrides=raw), 404, "no-such-dead-letter")


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [("limit=0", 422, "limit"), ("limit=1001", 422, "limit"), ("after=x", 400, "after"), ("color=1", 422, "color")],
)
def test_a_wrong_parameter_is_refused_by_name(shared: ApiWorld, query: str, status: int, field: str) -> None:
    answer = shared.client.get(f"{LETTERS}?{query}")
    assert (answer.status_code, json.loads(answer.data)["field"]) == (status, field)
