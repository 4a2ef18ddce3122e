"""Alerts say since when: what this process finds away is dated from its first failed look to the first good one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from api.status.alerts import alerts
from api.status.dependencies import Dependencies, DependencyState
from common.catalogue.status import StatusCounts
from common.errors import QueueUnavailable
from common.model.nodes import Node, NodeHealth, NodeMode, NodeSpec
from common.model.scrubbing import Reclaimed, Scrub
from common.queue.memory import MemoryQueue
from tests.support.keys import MemoryKeys

WELL = DependencyState({"replicate": 1}, None, None, None)
NOTHING = StatusCounts({}, 0, 0, 0, None, 0, None, 0, 0.0)


class Queue(MemoryQueue):
    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.looks = 0
        self.looked = threading.Event()

    def depths(self) -> dict[str, int]:
        self.looks += 1
        self.looked.set()
        if self.away:
            raise QueueUnavailable("away")
        return super().depths()


def test_what_is_away_is_dated_from_the_first_look_that_found_it_so() -> None:
    queue, keys, time = Queue(), MemoryKeys(), [100.0]
    dependencies = Dependencies(queue, keys, lambda: time[0])
    assert dependencies.look().queue_away_since is None
    seen = []
    for now, queue_away, keys_away in (
        (110.0, True, False),
        (120.0, True, True),
        (130.0, False, True),
        (140.0, True, False),
    ):
        time[0], queue.away, keys.away = now, queue_away, keys_away
        looked = dependencies.look()
        seen.append((looked.depths is None, looked.queue_away_since, looked.keys_away, looked.keys_away_since))
    assert seen == [
        (True, 110.0, None, None),
        (True, 110.0, "there is no usable key", 120.0),
        (False, None, "there is no usable key", 120.0),
        (True, 140.0, None, None),
    ]


def test_with_its_thread_nobody_who_asks_waits_for_the_queue() -> None:
    queue = Queue()
    dependencies = Dependencies(queue, MemoryKeys())
    dependencies.start()
    assert queue.looked.wait(5)
    while dependencies.now() is not dependencies._last:
        continue
    looks = queue.looks
    for _ in range(100):
        dependencies.now()
    dependencies.stop()
    assert queue.looks <= looks + 1


def node(name: str, health: NodeHealth, mode: NodeMode = NodeMode.ACTIVE) -> Node:
    return Node(name, NodeSpec(name, "http://h", "b", name), mode, None, True, "known", 1, health, 50.0, None, None)


def names(
    *nodes: Node,
    counts: StatusCounts = NOTHING,
    looked: DependencyState = WELL,
    scrubs: Mapping[str, Scrub] | None = None,
    locked: Mapping[str, int] | None = None,
) -> Mapping[object, object]:
    found = alerts(nodes, counts, looked, scrubs or {}, locked or {})
    return {alert["name"]: alert["since"] for alert in found}


def test_all_is_well_is_no_alert() -> None:
    assert names(node("a", NodeHealth.UP), node("b", NodeHealth.SUSPECT)) == {}


def test_a_node_that_is_away_is_one_since_it_is_unless_it_was_given_up() -> None:
    up = node("b", NodeHealth.UP)
    assert names(up, node("a", NodeHealth.DOWN)) == {"node-down": "1970-01-01T00:00:50.000000Z"}
    assert names(up, node("a", NodeHealth.DOWN, NodeMode.PAUSED)) == {"node-down": "1970-01-01T00:00:50.000000Z"}
    assert names(up, node("a", NodeHealth.FOREIGN)) == {"node-foreign": "1970-01-01T00:00:50.000000Z"}
    assert names(up, node("a", NodeHealth.DOWN, NodeMode.RETIRED)) == {}


def unseen(name: str, since: float, mode: NodeMode = NodeMode.ACTIVE, health: NodeHealth = NodeHealth.SUSPECT) -> Node:
    return replace(node(name, health, mode), unreachable_since=since, last_error="the node answered 403")


def test_a_node_that_does_not_show_itself_is_one_though_it_is_not_believed_down() -> None:
    up = node("b", NodeHealth.UP)
    assert names(up, unseen("a", 70.0)) == {"node-unreachable": "1970-01-01T00:01:10.000000Z"}
    assert names(up, unseen("a", 70.0, NodeMode.PAUSED)) == {"node-unreachable": "1970-01-01T00:01:10.000000Z"}
    assert names(up, unseen("a", 70.0, health=NodeHealth.DOWN)) == {"node-down": "1970-01-01T00:00:50.000000Z"}
    assert names(up, unseen("a", 70.0, NodeMode.RETIRED)) == {}


def test_that_no_node_answers_is_one_alert_since_the_last_did_and_says_what_they_said() -> None:
    (alert,) = alerts([unseen("a", 70.0), unseen("b", 90.0)], NOTHING, WELL, {}, {})
    assert (alert["name"], alert["since"]) == ("nodes-unreachable", "1970-01-01T00:01:30.000000Z")
    assert "no node answers: the node answered 403" in str(alert["detail"])
    assert "nodes-unreachable" in names(unseen("a", 70.0), node("b", NodeHealth.DOWN))
    assert names(node("a", NodeHealth.UP, NodeMode.RETIRED)) == {}


def test_a_reclaim_that_stops_is_one_since_it_does() -> None:
    up = node("a", NodeHealth.UP)
    assert names(up, scrubs={"a": Scrub("a", reclaimed=Reclaimed(90.0))}) == {}
    stopped = Scrub("a", reclaimed=Reclaimed(90.0, stopped="too many"))
    assert names(up, scrubs={"a": stopped}) == {"reclaim-stopped": "1970-01-01T00:01:30.000000Z"}


def test_names_that_a_node_can_do_nothing_with_are_one() -> None:
    (alert,) = alerts([node("a", NodeHealth.UP)], NOTHING, WELL, {}, {"a": 2})
    assert alert["name"] == "names-locked"
    assert "2 names" in str(alert["detail"])
    assert "reclaim job" in str(alert["detail"])
    assert names(node("a", NodeHealth.UP), locked={"gone": 1}) == {}


def test_dead_letters_are_one_since_the_oldest_and_unavailable_objects_without_a_time() -> None:
    counts = replace(NOTHING, dead_letters=2, dead_since=60.0, objects={"unavailable": 3})
    assert names(counts=counts) == {"dead-letters": "1970-01-01T00:01:00.000000Z", "objects-unavailable": None}


def test_queue_and_keys_are_one_since_this_process_found_them_away() -> None:
    assert names(looked=DependencyState(None, 70.0, "no key", 80.0)) == {
        "queue-unavailable": "1970-01-01T00:01:10.000000Z",
        "keys-unavailable": "1970-01-01T00:01:20.000000Z",
    }
