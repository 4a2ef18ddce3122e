from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.common.nodes.stage import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    for nodes in stage.started:
        nodes.stop()
