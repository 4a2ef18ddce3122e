"""Buckets, listings, jobs, nodes, health: documents as the contract has them, and bodies that are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.http.openapi import shown_methods
from api.http.schemas import (
    BucketDocument,
    BucketList,
    CopiesDocument,
    JobDocument,
    JobList,
    NodeDocument,
    NodeList,
    ObjectList,
    Ready,
    Status,
)
from common.model.jobs import JobState
from common.model.nodes import NodeHealth
from common.model.scrubbing import Scrub, scrub_lease
from common.queue.base import Queue, TaskName
from tests.unit.api import documented
from tests.unit.api.world import ApiWorld, problem

OBJECTS = "/v1/buckets/casa/objects"


# -- buckets


def test_bucket_is_created_changed_shown_and_deleted(api: ApiWorld) -> None:
    put = api.client.put("/v1/buckets/nuevo", json={"copies": 2, "write_copies": 2})
    assert put.status_code == 201
    assert put.headers["Location"] == "/v1/buckets/nuevo"
    assert BucketDocument.model_validate_json(put.data).write_copies == 2
    again = api.client.put("/v1/buckets/nuevo", json={"write_copies": 1})
    assert again.status_code == 200
    assert BucketDocument.model_validate_json(again.data).copies == 2
    api.client.put("/v1/buckets/nuevo/objects/a", data=b"123")
    shown = BucketDocument.model_validate_json(api.client.get("/v1/buckets/nuevo").data)
    assert (shown.objects, shown.bytes) == (1, 3)
    problem(api.client.delete("/v1/buckets/nuevo"), 409, "conflict")
    api.client.delete("/v1/buckets/nuevo/objects/a")
    assert api.client.delete("/v1/buckets/nuevo").status_code == 204
    problem(api.client.get("/v1/buckets/nuevo"), 404, "no-such-bucket")
    problem(api.client.delete("/v1/buckets/nuevo"), 404, "no-such-bucket")


def test_bucket_without_a_body_takes_the_defaults(api: ApiWorld) -> None:
    document = BucketDocument.model_validate_json(api.client.put("/v1/buckets/nuevo").data)
    assert (document.copies, document.write_copies) == (3, 1)
    names = [bucket.name for bucket in BucketList.model_validate_json(api.client.get("/v1/buckets").data).buckets]
    assert names == ["archivos", "casa", "nuevo"]


@pytest.mark.parametrize(
    ("body", "status", "slug", "field"),
    [
        (b"{", 400, "malformed", "body"),
        (b"\xff", 400, "malformed", "body"),
        (b"[" * 100_0, 400, "malformed", "body"),
        (b"[]", 422, "not-allowed", "body"),
        (b"null", 422, "not-allowed", "body"),
        (b'{"copies": "3"}', 422, "not-allowed", "copies"),
        (b'{"copies": 0}', 422, "not-allowed", "copies"),
        (b'{"copies": 17}', 422, "not-allowed", "copies"),
        (b'{"copies": 1.5}', 422, "not-allowed", "copies"),
        (b'{"copies": true}', 422, "not-allowed", "copies"),
        (b'{"copies": 2, "write_copies": 3}', 422, "not-allowed", "write_copies"),
        (b'{"color": 1}', 422, "not-allowed", "color"),
        (b" " * 70_000, 413, "too-large", None),
    ],
)
def test_wrong_body_is_refused_naming_the_field(
    shared: ApiWorld, body: bytes, status: int, slug: str, field: str | None
) -> None:
    assert problem(shared.client.put("/v1/buckets/nuevo", data=body), status, slug).get("field") == field


# -- listing


def listing(api: ApiWorld, query: str = "") -> ObjectList:
    response = api.client.get(f"{OBJECTS}?{query}")
    assert response.status_code == 200, response.data
    return ObjectList.model_validate_json(response.data)


def test_listing_pages_in_byte_order(api: ApiWorld) -> None:
    for key in ("b", "a/1", "a/2", "%C3%B1", "Z", "a"):
        api.client.put(f"{OBJECTS}/{key}", data=b"1")
    assert [entry.key for entry in listing(api).objects] == ["Z", "a", "a/1", "a/2", "b", "ñ"]
    assert [entry.key for entry in listing(api, "prefix=a/").objects] == ["a/1", "a/2"]
    folded = listing(api, "delimiter=/")
    assert ([entry.key for entry in folded.objects], folded.prefixes) == (["Z", "a", "b", "ñ"], ["a/"])
    first = listing(api, "limit=4")
    assert len(first.objects) == 4
    assert first.next is not None
    rest = listing(api, f"limit=4&after={first.next}")
    assert ([entry.key for entry in rest.objects], rest.next) == (["b", "ñ"], None)
    assert [entry.key for entry in listing(api, "prefix=%C3%B1").objects] == ["ñ"]


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("limit=0", 422, "limit"),
        ("limit=1001", 422, "limit"),
        ("limit=x", 400, "limit"),
        ("limit=", 400, "limit"),
        ("prefix=%00", 422, "prefix"),
        ("prefix=%FF", 400, "prefix"),
        ("prefix=%zz", 400, "prefix"),
        ("after=" + "x" * 1025, 422, "after"),
        ("color=1", 422, "color"),
        ("limit=1&limit=2", 422, "limit"),
    ],
)
def test_wrong_parameter_is_refused_by_name(shared: ApiWorld, query: str, status: int, field: str) -> None:
    response = shared.client.get(f"{OBJECTS}?{query}")
    assert (response.status_code, json.loads(response.data)["field"]) == (status, field)


# -- jobs


def test_repair_job_is_a_row_and_a_message(api: ApiWorld) -> None:
    body = {"kind": "repair", "scope": {"bucket": "casa", "prefix": "a/"}, "dry_run": True}
    response = api.client.post("/v1/jobs", json=body)
    assert response.status_code == 202
    job = JobDocument.model_validate_json(response.data)
    assert (job.state, job.scope, job.dry_run) == ("queued", {"bucket": "casa", "prefix": "a/"}, True)
    assert response.headers["Location"] == f"/v1/jobs/{job.id}"
    assert api.queue.take(Queue.REPAIR) == (TaskName.JOB, (job.id,))
    assert JobDocument.model_validate_json(api.client.get(f"/v1/jobs/{job.id}").data) == job
    assert JobList.model_validate_json(api.client.get("/v1/jobs").data).jobs == [job]


@pytest.mark.parametrize("kind", ["repair", "scrub", "rebalance", "reclaim"])
def test_a_job_of_each_kind_that_workers_run_is_taken(api: ApiWorld, kind: str) -> None:
    body = {"kind": kind, "scope": {"node": "n1"}, "force": True}
    job = JobDocument.model_validate_json(api.client.post("/v1/jobs", json=body).data)
    assert (job.kind, job.scope, job.state) == (kind, {"node": "n1"}, "queued")
    assert api.catalogue.jobs.get(job.id).force


def test_job_is_cancelled_and_tried_again(api: ApiWorld) -> None:
    job = JobDocument.model_validate_json(api.client.post("/v1/jobs", json={"kind": "repair"}).data)
    cancelled = api.client.post(f"/v1/jobs/{job.id}/cancel")
    assert JobDocument.model_validate_json(cancelled.data).state == "cancelled"
    problem(api.client.post(f"/v1/jobs/{job.id}/cancel"), 409, "conflict")
    again = api.client.post(f"/v1/jobs/{job.id}/retry")
    assert again.status_code == 202
    assert JobDocument.model_validate_json(again.data).state == "queued"
    problem(api.client.post(f"/v1/jobs/{job.id}/retry"), 409, "conflict")
    assert [api.queue.take(Queue.REPAIR) for _ in range(2)] == [(TaskName.JOB, (job.id,))] * 2


def test_report_of_a_finished_job_is_shown(api: ApiWorld) -> None:
    job = JobDocument.model_validate_json(api.client.post("/v1/jobs", json={"kind": "repair"}).data)
    api.catalogue.jobs.start(job.id)
    api.catalogue.jobs.finish(job.id, JobState.DONE, {"before": {"missing": 1}}, None)
    done = JobDocument.model_validate_json(api.client.get(f"/v1/jobs/{job.id}").data)
    assert (done.state, done.report) == ("done", {"before": {"missing": 1}})
    assert done.finished_at is not None


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "kind"),
        ({"kind": "rewrap"}, 422, "kind"),
        ({"kind": "fly"}, 422, "kind"),
        ({"kind": "repair", "scope": {"prefix": "a"}}, 422, "scope.bucket"),
        ({"kind": "repair", "scope": {"bucket": "casa", "prefix": "a", "key": "b"}}, 422, "scope.key"),
        ({"kind": "repair", "scope": {"bucket": "casa", "key": "a\x00"}}, 422, "scope.key"),
        ({"kind": "repair", "scope": {"bucket": "CASA"}}, 422, "scope.bucket"),
        ({"kind": "reclaim", "scope": {"bucket": "casa"}}, 422, "scope.bucket"),
        ({"kind": "repair", "scope": {"bucket": "nadie"}}, 404, None),
        ({"kind": "repair", "scope": {"node": "nadie"}}, 404, None),
        ({"kind": "repair", "scope": {"color": 1}}, 422, "scope.color"),
        ({"kind": "repair", "dry_run": "yes"}, 422, "dry_run"),
    ],
)
def test_job_that_cannot_be_is_refused(shared: ApiWorld, body: dict[str, Any], status: int, field: str | None) -> None:
    response = shared.client.post("/v1/jobs", json=body)
    assert response.status_code == status
    assert json.loads(response.data).get("field") == field
    assert shared.catalogue.jobs.all() == []


@pytest.mark.parametrize("job_id", ["0" * 32, "x", "%00", "a%2Fb"])
def test_job_that_is_not_there_answers_404(shared: ApiWorld, job_id: str) -> None:
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry")):
        response = shared.client.open("/", method=method, environ_overrides={"RAW_URI": f"/v1/jobs/{job_id}{path}"})
        problem(response, 404, "no-such-job")


# -- nodes and health


def test_nodes_are_listed_with_what_they_hold(api: ApiWorld) -> None:
    api.client.put(f"{OBJECTS}/a", data=b"1")
    nodes = NodeList.model_validate_json(api.client.get("/v1/nodes").data).nodes
    assert [(node.name, node.state, node.writable) for node in nodes] == [(f"n{i}", "up", True) for i in range(3)]
    assert sum(node.copies for node in nodes) == 1
    assert sum(node.missing for node in nodes) == 2


def test_foreign_node_is_accepted_by_name(api: ApiWorld) -> None:
    response = api.client.patch("/v1/nodes/n1", json={"accept": True})
    assert NodeDocument.model_validate_json(response.data).name == "n1"
    assert api.nodes.accepted == [node.id for node in api.nodes.rows.values() if node.spec.name == "n1"]


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "mode"), ({"accept": False}, "accept"), ({"color": 1}, "color")],
)
def test_node_change_that_is_not_there_is_refused(shared: ApiWorld, body: dict[str, Any], field: str) -> None:
    assert problem(shared.client.patch("/v1/nodes/n1", json=body), 422, "not-allowed")["field"] == field
    assert shared.nodes.accepted == []


def test_node_that_is_not_there_answers_404(shared: ApiWorld) -> None:
    problem(shared.client.patch("/v1/nodes/nadie", json={"accept": True}), 404, "no-such-node")


def test_readyz_says_what_is_missing(api: ApiWorld) -> None:
    Ready.model_validate_json(api.client.get("/readyz").data)
    api.keys.away = True
    api.nodes.down = set(api.nodes.stores)
    missing = problem(api.client.get("/readyz"), 503, "not-ready")["missing"]
    assert [text.partition(":")[0] for text in missing] == ["keys", "nodes"]


def test_nodes_that_answer_no_probe_are_missing_though_they_are_not_believed_down(api: ApiWorld) -> None:
    api.nodes.silent = set(api.nodes.stores)
    (missing,) = problem(api.client.get("/readyz"), 503, "not-ready")["missing"]
    assert missing == "nodes: of 3 that can be written 0 answered lately, 1 are needed"
    api.nodes.silent.pop()
    assert api.client.get("/readyz").status_code == 200


def test_while_no_node_answers_objects_are_not_protected_and_an_alert_says_why(api: ApiWorld) -> None:
    api.client.put(f"{OBJECTS}/a", data=b"1", headers={"X-Write-Copies": "3"})
    rows = api.catalogue.nodes.all()
    lost = {row.id: (NodeHealth.SUSPECT, None, "the node answered 403 RequestTimeTooSkewed") for row in rows}
    api.catalogue.nodes.write_health(lost, "world", {row.id: 12.0 for row in rows})
    status = Status.model_validate_json(api.client.get("/v1/status").data)
    assert status.nodes == {"unreachable": 3}
    assert (status.objects["protected"], status.objects["unavailable"]) == (0, 1)
    (alert,) = [alert for alert in status.alerts if alert.name == "nodes-unreachable"]
    assert "RequestTimeTooSkewed" in alert.detail
    assert alert.since is not None
    node = NodeDocument.model_validate_json(api.client.get("/v1/nodes/n1").data)
    assert (node.health, node.state, node.unreachable_since) == ("suspect", "unreachable", alert.since)
    copies = CopiesDocument.model_validate_json(api.client.get("/v1/buckets/casa/copies/a").data)
    assert (copies.object.state, copies.object.copies.stored) == ("unavailable", 3)
    assert 'boveda_node_unreachable{node="n1"} 1.0' in api.client.get("/metrics").text


def test_status_counts_what_there_is(api: ApiWorld) -> None:
    api.client.put(f"{OBJECTS}/a", data=b"1")
    status = Status.model_validate_json(api.client.get("/v1/status").data)
    assert status.nodes == {"up": 3}
    assert (status.objects["replicating"], status.copies["missing"]) == (1, 2)
    assert status.queues is not None
    assert status.queues["replicate"] == 1
    assert status.oldest_unprotected is not None


@pytest.mark.parametrize("mode", ["draining", "paused"])
def test_status_counts_a_node_by_the_state_it_is_shown_with(api: ApiWorld, mode: str) -> None:
    api.catalogue.nodes.set_mode(api.catalogue.nodes.all()[0].spec.name, mode, None)
    assert Status.model_validate_json(api.client.get("/v1/status").data).nodes == {"up": 2, mode: 1}


def test_metrics_are_prometheus_text(api: ApiWorld) -> None:
    api.client.put(f"{OBJECTS}/a", data=b"1")
    response = api.client.get("/metrics")
    assert response.content_type.startswith("text/plain")
    text = response.data.decode()
    assert 'boveda_http_requests_total{method="PUT",route="objects.put_object",status="201"}' in text
    assert 'boveda_objects{state="replicating"} 1.0' in text
    assert 'boveda_up{part="catalogue"} 1.0' in text
    assert "boveda_api_resident_bytes{" in text


def test_metrics_tell_how_far_each_node_was_scrubbed_and_how_long_ago(api: ApiWorld) -> None:
    first, second, _ = api.catalogue.nodes.all()
    now = api.catalogue.now()
    running = Scrub(first.id, started_at=now, bytes=25, total=100, found={"damaged": 2})
    ended = Scrub(second.id, started_at=now - 70, finished_at=now - 60, passes=1)
    for scrub in (running, ended):
        assert api.catalogue.leases.acquire(scrub_lease(scrub.node_id), "test", 60)
        assert api.catalogue.scrubs.save(scrub, "test")
    lines = api.client.get("/metrics").data.decode().splitlines()
    assert f'boveda_scrub_coverage{{node="{first.spec.name}"}} 0.25' in lines
    assert f'boveda_scrub_coverage{{node="{second.spec.name}"}} 1.0' in lines
    assert f'boveda_scrub_found{{node="{first.spec.name}",what="damaged"}} 2.0' in lines
    (age,) = [line for line in lines if line.startswith("boveda_scrub_age_seconds{")]
    assert f'node="{second.spec.name}"' in age
    assert 60 <= float(age.split()[-1]) < 120


def test_every_answer_has_an_id_of_its_own(shared: ApiWorld) -> None:
    ids = {
        shared.client.get(path, headers={"X-Request-Id": "mine"}).headers["X-Request-Id"]
        for path in ("/", "/healthz") * 3
    }
    assert len(ids) == 6
    assert "mine" not in ids


# -- the documentation


def test_openapi_describes_every_route_of_the_application(shared: ApiWorld) -> None:
    document = json.loads(shared.client.get("/v1/openapi.json").data)
    assert document["openapi"].startswith("3.")
    shown = {(path, method) for path, methods in document["paths"].items() for method in methods}
    for rule in shared.app.url_map.iter_rules():
        path = documented.shown(rule.rule)
        if path not in documented.NOT_SHOWN:
            for method in shown_methods(rule):
                assert (path, method.lower()) in shown
    put = document["paths"]["/v1/buckets/{bucket}/objects/{key}"]["put"]
    assert "application/octet-stream" in put["requestBody"]["content"]
    assert "application/problem+json" in put["responses"]["404"]["content"]


ALWAYS = {400, 401, 403, 404, 422, 500, 503}
OBJECT = "/v1/buckets/{bucket}/objects/{key}"


@pytest.mark.parametrize(
    ("path", "method", "others"),
    [
        (OBJECT, "put", {200, 201, 408, 412, 413}),
        (OBJECT, "get", {200, 206, 304, 412, 416, 502}),
        (OBJECT, "delete", {204, 412}),
        ("/v1/uploads", "post", {201, 408, 409, 410, 412, 413, 415, 460}),
        ("/v1/uploads/{upload_id}", "head", {200, 410, 412, 423}),
        ("/v1/uploads/{upload_id}", "patch", {204, 408, 409, 410, 412, 413, 415, 460}),
        ("/v1/uploads/{upload_id}", "delete", {204, 410, 412}),
        ("/v1/buckets/{bucket}", "put", {200, 201, 408, 413}),
        ("/v1/buckets/{bucket}", "delete", {204, 409}),
        ("/v1/jobs/{job_id}/cancel", "post", {200, 409}),
        ("/cargar", "post", {201, 408, 412, 413}),
        ("/descargar/{nombre}", "get", {200, 206, 304, 412, 416, 502}),
        ("/eliminar/{nombre}", "delete", {200, 412}),
    ],
)
def test_every_status_that_a_route_can_answer_is_documented(
    shared: ApiWorld, path: str, method: str, others: set[int]
) -> None:
    answers = json.loads(shared.client.get("/v1/openapi.json").data)["paths"][path][method]["responses"]
    assert {int(status) for status in answers} == ALWAYS | others
    spanish = not path.startswith("/v1")
    for status in sorted(ALWAYS):
        (media,) = answers[str(status)]["content"]
        assert media == ("application/json" if spanish else "application/problem+json")


def test_no_token_is_asked_for_where_none_is_needed(shared: ApiWorld) -> None:
    paths = json.loads(shared.client.get("/v1/openapi.json").data)["paths"]
    assert [path for path in paths if "401" not in paths[path].get("get", {"responses": {"401": ""}})["responses"]] == [
        "/healthz",
        "/readyz",
    ]


def test_headers_that_are_stored_with_an_object_are_documented(shared: ApiWorld) -> None:
    put = json.loads(shared.client.get("/v1/openapi.json").data)["paths"][OBJECT]["put"]
    named = {each["name"] for each in put["parameters"] if each["in"] == "header"}
    stored = {"Content-Type", "Content-Encoding", "Content-Language", "Content-Disposition", "Cache-Control"}
    assert named >= stored | {"X-Meta-*", "If-Match", "X-Write-Copies"}


def test_documentation_page_needs_no_network(shared: ApiWorld) -> None:
    page = shared.client.get("/docs")
    assert page.content_type.startswith("text/html")
    for tag in (b"<script src=", b'<link rel="stylesheet"', b"unpkg.com/swagger", b"cdn.jsdelivr"):
        assert tag not in page.data
    assert b"/v1/openapi.json" in page.data
