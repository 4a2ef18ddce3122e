"""A foreign node is taken in because an operator says so, and only where that is safe."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from common.blobstore.memory import MemoryStore
from common.catalogue.nodes import Nodes
from common.errors import CatalogueUnavailable, Conflict, Unavailable
from common.model.names import IDENTITY_NAME
from common.model.nodes import NodeHealth
from common.nodes.acceptance import accept
from common.nodes.health import Identity
from tests.support.waiting import wait_until
from tests.unit.common.nodes.stage import Stage, becomes, names


def foreign(stage: Stage, present: Identity | None) -> MemoryStore:
    store = stage.node("a", identity="foreign", epoch=3)
    if present is not None:
        store.created, store.blobs[IDENTITY_NAME] = True, (present.encode(), 0.0)
    return store


@pytest.mark.parametrize(
    "present",
    [None, Identity("cluster", "a", "generation", 1), Identity("cluster", "a", "older", 9)],
    ids=["wiped", "old disk", "before a restore"],
)
def test_accepting_writes_the_identity_anew_and_doubts_every_stored_copy(
    stage: Stage, present: Identity | None
) -> None:
    store = foreign(stage, present)
    stage.rows.stored = 2500
    assert accept(stage.rows.rows["a"], store, cast(Nodes, stage.rows)) == 2500
    identity = stage.identity("a")
    assert identity is not None
    assert (identity.generation, identity.epoch > 3) == ("generation", True)
    assert stage.rows.rows["a"].identity == "known"


def test_an_acceptance_that_breaks_off_leaves_the_node_foreign(stage: Stage) -> None:
    store = foreign(stage, None)
    stage.rows.stored, stage.rows.away = 2500, True
    with pytest.raises(CatalogueUnavailable):
        accept(stage.rows.rows["a"], store, cast(Nodes, stage.rows))
    assert stage.identity("a") is None
    assert stage.rows.rows["a"].identity == "foreign"


def test_an_acceptance_that_takes_too_long_is_gone_on_with_by_the_next_call(stage: Stage) -> None:
    store = foreign(stage, None)
    stage.rows.stored = 2500
    rows = cast(Nodes, stage.rows)
    with pytest.raises(Unavailable):
        accept(stage.rows.rows["a"], store, rows, patience=-1)
    assert (stage.rows.stored, stage.rows.rows["a"].identity, stage.identity("a")) == (1500, "foreign", None)
    assert accept(stage.rows.rows["a"], store, rows) == 1500
    assert stage.rows.rows["a"].identity == "known"


def test_a_healthy_node_is_not_accepted_anew(stage: Stage) -> None:
    stage.node("a")
    nodes = stage.process()
    stage.rows.stored = 10
    with pytest.raises(Conflict, match="not foreign"):
        nodes.accept("a")
    assert stage.rows.stored == 10


def test_a_node_that_another_process_has_just_seen_as_foreign_is_accepted_by_this_one(stage: Stage) -> None:
    stage.node("a")
    nodes = stage.process(interval=3600)
    assert nodes.all()["a"].health is NodeHealth.UP
    stage.rows.rows["a"] = replace(stage.rows.rows["a"], identity="foreign", health=NodeHealth.FOREIGN)
    nodes.accept("a")
    assert stage.rows.rows["a"].identity == "known"


def test_the_identity_of_another_node_is_not_accepted(stage: Stage) -> None:
    store = foreign(stage, Identity("cluster", "b", "generation", 3))
    with pytest.raises(Conflict, match="another node"):
        accept(stage.rows.rows["a"], store, cast(Nodes, stage.rows))
    assert stage.rows.rows["a"].identity == "foreign"


@pytest.mark.parametrize("fault", ["down", "full", "refuses"])
def test_a_node_that_refuses_writes_is_not_accepted(stage: Stage, fault: str) -> None:
    store = foreign(stage, None)
    setattr(store.faults, fault, True)
    with pytest.raises(Conflict, match="restart"):
        accept(stage.rows.rows["a"], store, cast(Nodes, stage.rows))
    assert stage.rows.rows["a"].identity == "foreign"


def test_an_accepted_node_serves_again(stage: Stage) -> None:
    store = stage.node("a")
    nodes = stage.process()
    store.wipe()
    wait_until(lambda: nodes.all()["a"].identity == "foreign")
    nodes.accept("a")
    wait_until(lambda: names(nodes) == ["a"])
    becomes(nodes, "a", NodeHealth.UP)
