"""The client against the real thing: what goes in comes out, and a script can tell what happened."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from cli.command import UNAVAILABLE
from tests.support.cluster import Cluster
from tests.support.servers import until_taken
from tests.support.waiting import wait_until

MIB = 1 << 20
CONVERGE_SECONDS = 30
UP_SECONDS = 30  # a late probe shows `suspect` until the next ones


def converged(cluster: Cluster, name: str) -> Any:
    """The copies of an object once it is protected."""
    wait_until(
        lambda: cluster.json("stat", name)["object"]["state"] == "protected", CONVERGE_SECONDS, f"all copies of {name}"
    )
    return cluster.json("stat", name)


def test_files_of_any_size_come_back_byte_for_byte(cluster: Cluster, tmp_path: Path) -> None:
    files = {f"file-{size}": os.urandom(size) for size in (0, 1, MIB - 1, MIB, MIB + 1, 8 * MIB, 20 * MIB + 7)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    put = until_taken(lambda: cluster.boveda("put", *files, cwd=tmp_path), lambda done: done.returncode == UNAVAILABLE)
    assert put.returncode == 0, put.stderr.decode()
    assert cluster.boveda("cat", *files).stdout == b"".join(files.values())
    largest = max(files, key=lambda name: len(files[name]))
    assert cluster.boveda("get", largest, "back", cwd=tmp_path).returncode == 0
    assert (tmp_path / "back").read_bytes() == files[largest]


def test_standard_input_is_stored_and_reaches_all_its_copies(cluster: Cluster) -> None:
    assert cluster.boveda("put", "-", "archivos/de/stdin", stdin=b"x" * 3 * MIB).returncode == 0
    found = converged(cluster, "archivos/de/stdin")
    assert found["object"]["size"] == 3 * MIB
    assert {copy["state"] for copy in found["copies"]} == {"stored"}
    assert len({copy["node"] for copy in found["copies"]}) == 3


def test_any_key_is_a_name_like_others(cluster: Cluster, tmp_path: Path) -> None:
    keys = ["a//b", "../x", "x/..", "./.", "año ü?#%41", "%2F", "-dash", "a" * 1000]
    (tmp_path / "f").write_text("f")
    cluster.boveda("mb", "nombres")
    for key in keys:
        assert cluster.boveda("put", "f", f"nombres/{key}", cwd=tmp_path).returncode == 0
    names = [f"nombres/{key}" for key in keys]
    assert cluster.boveda("cat", *names).stdout == b"f" * len(keys)
    listed = [shown["key"] for shown in cluster.json("ls", "nombres/", "-r")["objects"]]
    assert listed == sorted(keys, key=str.encode)
    assert cluster.boveda("rm", *names).returncode == 0
    assert cluster.boveda("cat", names[0]).returncode == 3


def test_a_listing_folds_at_the_slash(cluster: Cluster, tmp_path: Path) -> None:
    cluster.boveda("mb", "arbol")
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    cluster.boveda("put", "a", "b", "arbol/rama/", cwd=tmp_path)
    cluster.boveda("put", "a", "arbol/", cwd=tmp_path)
    folded = cluster.json("ls", "arbol/")
    assert ([shown["key"] for shown in folded["objects"]], folded["prefixes"]) == (["a"], ["rama/"])
    assert [shown["key"] for shown in cluster.json("ls", "arbol", "-r")["objects"]] == ["a", "rama/a", "rama/b"]


def test_a_bucket_is_made_changed_and_removed_only_when_empty(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f")
    assert cluster.json("mb", "cajon", "--write-copies", "2")["write_copies"] == 2
    stored = cluster.json("put", "f", "cajon/", cwd=tmp_path)["objects"][0]
    assert stored["copies"]["stored"] >= 2
    full = cluster.boveda("rb", "cajon", "--json")
    assert (full.returncode, json.loads(full.stderr)["status"]) == (1, 409)
    assert cluster.boveda("rm", "cajon/f").returncode == 0
    assert cluster.boveda("rb", "cajon").returncode == 0
    assert cluster.boveda("ls", "cajon").returncode == 3


def test_metadata_and_type_are_kept(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text("{}")
    cluster.boveda("put", "f.json", "--meta", "origen=clase", cwd=tmp_path)
    shown = cluster.json("stat", "f.json")["object"]
    assert (shown["content_type"], shown["metadata"]) == ("application/json", {"origen": "clase"})


def test_more_write_copies_than_copies_is_wrong_use(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f")
    refused = cluster.boveda("put", "f", "--write-copies", "9", "--json", cwd=tmp_path)
    assert (refused.returncode, json.loads(refused.stderr)["status"]) == (2, 422)


def test_status_and_nodes_tell_what_runs(cluster: Cluster) -> None:
    wait_until(lambda: cluster.json("status")["nodes"] == {"up": 3}, UP_SECONDS, "three nodes are up")
    wait_until(
        lambda: [node["state"] for node in cluster.json("nodes")["nodes"]] == ["up"] * 3, UP_SECONDS, "each is up"
    )
    assert "protected" in cluster.boveda("status").stdout.decode()
    assert len(cluster.boveda("nodes").stdout.splitlines()) == 4


def test_accepting_a_node_nobody_knows_is_status_3(cluster: Cluster) -> None:
    assert cluster.boveda("nodes", "accept", "nobody").returncode == 3


def test_the_bench_measures_finds_nothing_wrong_and_leaves_nothing(cluster: Cluster) -> None:
    before = cluster.json("ls")
    found = cluster.json("bench", "--seconds", "1", "--size", "20k", "--clients", "4")
    for phase in ("put", "get", "delete"):
        assert found[phase]["done"] > 0
        assert (found[phase]["failed"], found[phase]["wrong"]) == (0, 0)
    assert cluster.json("ls") == before
