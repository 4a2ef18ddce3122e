"""What is shown of nodes that do not show themselves, beside the verdict that guards the healing."""

from __future__ import annotations

import pytest

from common.model.nodes import NodeHealth
from tests.contract.catalogue.stage import Stage

SUSPECT = NodeHealth.SUSPECT


def unseen(stage: Stage, *seconds: float) -> None:
    """All nodes are suspect; the first ones were not seen for so long."""
    assert stage.catalogue.leases.acquire("health", "test", 60)
    verdicts = dict.fromkeys(stage.nodes, (SUSPECT, None, "it is away"))
    silent = dict(zip(stage.nodes, seconds, strict=False))
    assert stage.catalogue.nodes.write_health(verdicts, "test", silent)


def since(stage: Stage) -> list[float | None]:
    return [node.unreachable_since for node in stage.catalogue.nodes.all()]


@pytest.mark.parametrize(("silent", "state"), [(0, "protected"), (1, "degraded"), (3, "unavailable")])
def test_an_object_whose_nodes_do_not_show_themselves_is_not_protected(stage: Stage, silent: int, state: str) -> None:
    stage.put("a", stored=3)
    unseen(stage, *[12.0] * silent)
    assert stage.state("a") == state
    assert {name: count for name, count in stage.catalogue.status().objects.items() if count} == {state: 1}
    page = stage.catalogue.objects.list("papers", "", "", "", 10)
    assert [protection.state.value for _, protection in page.objects] == [state]


def test_a_node_is_unreachable_since_it_was_last_seen_and_no_more_once_it_is(stage: Stage) -> None:
    now = stage.catalogue.now()
    unseen(stage, 12.0, 0.0)
    first, second, third = since(stage)
    assert first is not None
    assert first == pytest.approx(now - 12, abs=5)
    assert (second, third) == (None, None)
    unseen(stage, 3.0)
    assert since(stage) == [first, None, None], "another process saw it later than never"
    unseen(stage)
    assert since(stage)[0] == first, "nobody knows"
    unseen(stage, 0.0)
    assert since(stage) == [None, None, None]


def test_healing_goes_by_the_other_verdict(stage: Stage) -> None:
    unseen(stage, 12.0, 12.0, 12.0)
    for node in stage.catalogue.nodes.all():
        assert node.takes_new_copies
        assert node.readable
        assert node.deletable_from
        assert (node.state, node.reachable) == ("unreachable", False)
