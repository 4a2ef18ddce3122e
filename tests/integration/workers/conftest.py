from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import QueueFactory
from tests.integration.workers.plant import Plant
from tests.support.servers import RealNode


@pytest.fixture
def plant(any_node: RealNode, queue_factory: QueueFactory, tmp_path: Path) -> Iterator[Plant]:
    """Three nodes that are buckets of one server, and a queue of the test's own."""
    made = Plant(tmp_path, queue_factory(), [(any_node.fresh_bucket(), any_node) for _ in range(3)])
    yield made
    made.close()
