"""`boveda drill` for real: it breaks a cluster under load, finds nothing lost, and leaves nothing of its own behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.drill.incidents import LIMITS
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until

DRILL_SECONDS = 900.0

pytestmark = pytest.mark.timeout(DRILL_SECONDS + 300)


def test_a_round_of_all_incidents_loses_nothing_and_reports_every_figure(cluster: Cluster) -> None:
    assert cluster.first_put("other", b"somebody else's").status == 201
    done = cluster.boveda("drill", "--seed", "4", "--yes", "--json", timeout=DRILL_SECONDS)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    report = json.loads(done.stdout)
    assert (report["ok"], report["lost"], report["wrong"], report["seed"]) == (True, [], [], 4)
    assert report["acknowledged"] > 300
    incidents = {incident["name"]: incident for incident in report["incidents"]}
    assert len(incidents) == 7
    left_out = {name for name, incident in incidents.items() if incident["left_out"]}
    assert left_out == set()
    assert all(incident["full_copies_after"] is not None for incident in incidents.values())
    assert {figure["name"] for figure in report["figures"]} == set(LIMITS)
    assert [bucket["name"] for bucket in cluster.ask("GET", "/v1/buckets").json()["buckets"]] == ["archivos"]
    assert cluster.get("other").data == b"somebody else's"
    wait_until(lambda: set(cluster.states().values()) == {"up"}, 30, "all nodes are up")


def test_a_cluster_with_other_data_is_not_touched_unasked(cluster: Cluster) -> None:
    assert cluster.put("precious", b"mine").status == 201
    before = {process["name"]: process["pid"] for process in cluster.processes()}
    assert cluster.boveda("drill", stdin=b"n\n").returncode == 1
    assert {process["name"]: process["pid"] for process in cluster.processes()} == before
    assert cluster.get("precious").data == b"mine"


def test_what_is_no_incident_is_wrong_use_and_leaves_no_bucket(cluster: Cluster) -> None:
    assert cluster.boveda("drill", "--only", "nonsense", "--yes").returncode == 2
    assert [bucket["name"] for bucket in cluster.ask("GET", "/v1/buckets").json()["buckets"]] == ["archivos"]


def test_where_no_cluster_runs_the_drill_starts_and_deletes_its_own(cluster: Cluster, tmp_path: Path) -> None:
    elsewhere = Cluster(cluster.url, tmp_path / "nowhere", {**cluster.env, "BOVEDA_HOME": str(tmp_path / "nowhere")})
    done = elsewhere.boveda("drill", "--only", "queue", timeout=DRILL_SECONDS)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    assert b"nothing lost" in done.stdout
    assert not (tmp_path / "nowhere").exists()
    assert cluster.get("precious").data == b"mine", "the cluster that runs elsewhere was not meant"
