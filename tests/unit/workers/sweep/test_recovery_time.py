"""A node comes back: how long until it has what it missed is measured, once."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from common.model.nodes import NodeHealth
from tests.unit.workers.rig import Rig

UP, DOWN, SUSPECT, FOREIGN = NodeHealth.UP, NodeHealth.DOWN, NodeHealth.SUSPECT, NodeHealth.FOREIGN


def measured() -> tuple[float, float]:
    """Returns of node3 that ended, and their seconds in all."""
    values = [
        REGISTRY.get_sample_value(f"boveda_return_to_convergence_seconds_{what}", {"node": "node3"})
        for what in ("count", "sum")
    ]
    return values[0] or 0.0, values[1] or 0.0


def converging() -> float | None:
    return REGISTRY.get_sample_value("boveda_returned_not_converged", {"node": "node3"})


@pytest.mark.parametrize("away", [DOWN, FOREIGN])
def test_the_time_from_a_return_to_the_last_copy_owed_is_measured_once(rig: Rig, away: NodeHealth) -> None:
    count, seconds = measured()
    rig.share_health(UP, UP, away)
    rig.put("missed", stored=2)
    rig.worker.sweep()
    rig.clock.now += 100
    rig.share_health(UP, UP, UP)
    rig.worker.sweep()
    rig.put("meanwhile", stored=2)
    rig.clock.now += 7
    assert (measured(), converging()) == ((count, seconds), 1)
    rig.worker.replicate(rig.blob_ids("missed"))
    rig.worker.sweep()
    assert (measured(), converging()) == ((count + 1, seconds + 7), 0)
    rig.clock.now += 7
    rig.worker.sweep()
    assert measured() == (count + 1, seconds + 7)


def test_a_node_that_goes_again_is_measured_from_its_last_return(rig: Rig) -> None:
    count, seconds = measured()
    rig.put("missed", stored=2)
    for health in (DOWN, UP, DOWN, SUSPECT, UP):
        rig.share_health(UP, UP, health)
        rig.worker.sweep()
        rig.clock.now += 10
    rig.worker.replicate(rig.blob_ids("missed"))
    rig.worker.sweep()
    assert measured() == (count + 1, seconds + 10)


def test_a_node_that_was_only_suspect_did_not_return(rig: Rig) -> None:
    before = measured()
    for health in (UP, SUSPECT, UP):
        rig.share_health(UP, UP, health)
        rig.worker.sweep()
    assert (measured(), converging()) == (before, 0)
