"""After which time a node's first byte is late."""

from __future__ import annotations

import pytest

from common.blobstore.firstbytes import FirstBytes, patience


@pytest.mark.parametrize(
    ("p99", "seconds"),
    [
        pytest.param(None, 0.5, id="nothing is known yet"),
        pytest.param(0.001, 0.05, id="a fast node is not hurried"),
        pytest.param(0.2, 0.2, id="its own p99"),
        pytest.param(7.0, 1.0, id="a second at most"),
    ],
)
def test_patience_is_the_nodes_own_p99_within_bounds(p99: float | None, seconds: float) -> None:
    assert patience(p99) == seconds


def test_the_p99_is_that_of_the_last_128() -> None:
    node = FirstBytes()
    for _ in range(31):
        node.add(0.3)
    assert node.p99 is None, "too few"
    node.add(0.3)
    assert node.p99 == 0.3
    for _ in range(128):
        node.add(0.1)
    assert node.p99 == 0.1
    for _ in range(31):
        node.add(0.1)
    node.add(9.0)
    assert node.p99 == 0.1, "one of 128 is not the 99th percentile"
    for _ in range(32):
        node.add(0.6)
    assert node.p99 == 0.6
