"""Gateways whose clocks are hours apart (scenario 9): the order of commits decides, and nothing expires too early."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import UploadSuperseded
from common.model.sizes import MIB
from tests.conftest import NodeFactory
from tests.support.gateway import Gateway

HOURS = 6 * 3600.0


@pytest.fixture
def gateways(tmp_path: Path, node_factory: NodeFactory) -> Iterator[tuple[Gateway, Gateway]]:
    """Two of one store: one ahead of the true time, one behind it."""
    nodes = [node_factory("node1"), node_factory("node2")]
    ahead = Gateway(tmp_path, nodes, clock=lambda: time.time() + HOURS, name="ahead")
    behind = Gateway(tmp_path, nodes, clock=lambda: time.time() - HOURS, name="behind")
    yield ahead, behind
    ahead.close()
    behind.close()


def test_the_later_commit_wins_whatever_its_clock_says(gateways: tuple[Gateway, Gateway]) -> None:
    ahead, behind = gateways
    for turn in range(3):
        for writer in (ahead, behind):
            body = f"turn {turn}".encode() * 1000 + writer.name.encode()
            writer.put(body, 2)
            assert ahead.get() == body
            assert behind.get() == body


def expire(gateway: Gateway) -> None:
    gateway.catalogue.objects.expire_uploads(100)


def test_an_upload_that_another_gateways_clock_expired_is_refused_whole_and_the_next_one_taken(
    gateways: tuple[Gateway, Gateway],
) -> None:
    ahead, behind = gateways
    body = bytes(20 * MIB)
    ahead.put(body, 1, half=lambda: expire(behind))
    assert behind.get() == body
    with pytest.raises(UploadSuperseded):
        behind.put(b"another" * 3 * MIB, 1, half=lambda: expire(ahead))
    assert ahead.get() == body
    behind.put(b"later", 1)
    assert ahead.get() == b"later"
