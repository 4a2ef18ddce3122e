"""What a home keeps from one start to the next, and where programs are looked for."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from cli.cluster.home import layout, plan, programs
from cli.cluster.home.home import Home
from cli.cluster.host import ports
from common.errors import ConfigurationError, NotAllowed
from common.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    program = tmp_path / "minio"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("BOVEDA_MINIO", str(program))
    made = Home.of(tmp_path / "home")
    made.make()
    return made


def test_a_second_start_finds_the_same_nodes_ports_and_secrets(home: Home) -> None:
    first = layout.establish(home, None, "auto")
    written = (home.credentials / "node1.json").read_text()
    assert list(first.nodes) == ["node1", "node2", "node3"]
    assert len(set(first.used())) == len(first.used()) == 7
    assert layout.establish(home, None, "auto") == first
    assert (home.credentials / "node1.json").read_text() == written


def test_a_port_that_was_taken_meanwhile_is_chosen_anew_and_only_that_one(home: Home) -> None:
    first = layout.establish(home, None, "auto")
    taken, kept = first.nodes["node2"].ports
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", taken))
        stranger.listen()
        second = layout.establish(home, None, "auto")
    assert second.nodes["node2"].ports[1] == kept
    assert second.nodes["node2"].ports[0] not in first.used()
    assert replace(second, nodes={}) == replace(first, nodes={})
    assert second.nodes["node1"] == first.nodes["node1"]
    entries = {entry["name"]: entry for entry in json.loads(home.nodes_file.read_text())}
    assert entries["node2"]["endpoint"] == f"http://127.0.0.1:{second.nodes['node2'].ports[0]}"


def test_nodes_can_be_added_and_not_taken_away_and_do_not_change_their_kind(home: Home) -> None:
    first = layout.establish(home, 2, "minio")
    more = layout.establish(home, 4, "auto")
    assert list(more.nodes) == ["node1", "node2", "node3", "node4"]
    assert more.nodes["node1"] == first.nodes["node1"]
    assert {place.kind for place in more.nodes.values()} == {"minio"}
    assert layout.establish(home, None, "auto") == more
    with pytest.raises(ConfigurationError, match="4 nodes"):
        layout.establish(home, 3, "auto")
    with pytest.raises(ConfigurationError, match="not of the kind"):
        layout.establish(home, None, "seaweedfs")


def test_a_node_joins_without_a_change_to_those_that_run(home: Home) -> None:
    first = layout.establish(home, None, "auto")
    with socket.socket() as running:
        running.bind(("127.0.0.1", first.nodes["node1"].ports[0]))
        running.listen()
        more = layout.add(home, "node4")
    assert {name: more.nodes[name] for name in first.nodes} == first.nodes
    assert len(set(more.used())) == len(more.used()) == 9
    assert (more.nodes["node4"].kind, more.queue_port) == ("minio", first.queue_port)
    assert (home.credentials / "node4.json").stat().st_mode & 0o077 == 0
    assert [entry["name"] for entry in json.loads(home.nodes_file.read_text())] == list(more.nodes)
    assert layout.establish(home, None, "auto") == more


@pytest.mark.parametrize("name", ["node1", "node", "node0", "queue", "../x", "node4/../x"])
def test_a_name_that_is_taken_or_no_nodes_does_not_join(home: Home, name: str) -> None:
    first = layout.establish(home, None, "auto")
    with pytest.raises(NotAllowed):
        layout.add(home, name)
    assert layout.read(home) == first


def test_a_node_that_left_is_not_started_again_and_its_folder_is_not_given_to_another(home: Home) -> None:
    layout.establish(home, None, "auto")
    home.node("node2").mkdir(parents=True)
    layout.forget(home, "node2")
    layout.forget(home, "node2")
    assert list(layout.establish(home, None, "auto").nodes) == ["node1", "node3"]
    assert [entry["name"] for entry in json.loads(home.nodes_file.read_text())] == ["node1", "node3"]
    names = layout.next_names(home, ["node1", "node3"])
    assert (next(names), next(names)) == ("node4", "node5")
    assert list(layout.establish(home, 4, "auto").nodes) == ["node1", "node3", "node4", "node5"]
    home.node("node2").rmdir()
    assert next(layout.next_names(home, ["node1", "node3"])) == "node2"


def test_every_file_with_a_secret_is_its_owners(home: Home) -> None:
    made = layout.establish(home, None, "auto")
    for path in (home.layout, home.nodes_file, *home.credentials.iterdir()):
        assert path.stat().st_mode & 0o077 == 0
    assert made.queue_password not in repr(made)


def test_a_damaged_layout_is_not_overwritten(home: Home) -> None:
    home.layout.write_text('{"nodes": 7}')
    with pytest.raises(ConfigurationError, match="damaged"):
        layout.establish(home, None, "auto")
    assert home.layout.read_text() == '{"nodes": 7}'


def test_no_argument_of_any_process_holds_a_secret_and_all_paths_are_absolute(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home.path)
    monkeypatch.setenv("BOVEDA_PASSPHRASE_FILE", "word")
    places = layout.establish(home, None, "auto")
    made = plan.make(home, Settings(home=home.path), places, workers=2)
    hidden = [places.queue_password, *(layout.credentials(home, name).secret_key for name in places.nodes)]
    for spec in (*made.servers, *made.setup, *made.ours):
        assert not any(secret in argument for secret in hidden for argument in spec.launch.argv)
        assert not any(secret in repr(spec) for secret in hidden)
    environment = made.ours[0].launch.env
    assert environment["BOVEDA_PASSPHRASE_FILE"] == str(home.path / "word")
    assert places.queue_password in environment["BOVEDA_REDIS_URL"]
    assert not any(name.startswith("BOVEDA_") for name in made.servers[0].launch.env)
    assert [spec.name for spec in made.ours] == ["api", "worker1", "worker2", "control", "scrub", "beat", "flower"]


def test_without_a_port_for_it_there_is_no_flower(home: Home) -> None:
    made = plan.make(home, Settings(home=home.path, flower_port=0), layout.establish(home, None, "auto"), workers=1)
    assert [spec.name for spec in made.ours] == ["api", "worker1", "control", "scrub", "beat"]


def test_every_worker_shows_what_it_counts_at_an_address_of_its_own(home: Home) -> None:
    made = plan.make(home, Settings(home=home.path), layout.establish(home, None, "auto"), workers=2)
    workers = [spec.launch for spec in made.ours if spec.kind == "worker"]
    assert len({launch.endpoint for launch in workers}) == len(workers) == 4
    for launch in workers:
        assert launch.endpoint == f"http://{launch.env['BOVEDA_WORKER_METRICS']}"
        assert launch.ready == "/metrics"


def test_a_program_named_in_the_environment_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOVEDA_MINIO", "/nowhere/minio")
    with pytest.raises(ConfigurationError, match="BOVEDA_MINIO"):
        programs.choose_node("auto")


def test_without_a_minio_the_nodes_are_seaweedfs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BOVEDA_MINIO", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_go_bin", lambda: tmp_path)
    assert programs.choose_node("auto")[0] == "seaweedfs"
    with pytest.raises(ConfigurationError, match="no MinIO server"):
        programs.choose_node("minio")
    assert programs.find_queue() is not None, "the wheel's own"


def test_picked_ports_are_free_distinct_and_outside_of_what_outgoing_connections_take() -> None:
    found = ports.pick(20)
    assert len(set(found)) == 20
    assert max(found) < 32768
    assert all(ports.is_free(port) for port in found)
