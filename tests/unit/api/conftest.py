"""A fresh API over a fresh catalogue for each test; one that is shared by tests that only read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import Any

import pytest

from common.settings import Settings
from tests.unit.api.tus import Tus
from tests.unit.api.world import ApiWorld, prepare

MakeApi = Callable[..., ApiWorld]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database to be copied: making one takes longer than most tests here."""
    path = tmp_path_factory.mktemp("prepared") / "catalogue.db"
    prepare(path)
    return path


def _make(prepared: Path, folder: Path, made: list[ApiWorld], clock: Callable[[], float], **settings: Any) -> ApiWorld:
    path = folder / f"catalogue{len(made)}.db"
    shutil.copy(prepared, path)
    made.append(ApiWorld(path, Settings(home=folder, **settings), clock))
    return made[-1]


@pytest.fixture
def make_api(prepared: Path, tmp_path: Path) -> Iterator[MakeApi]:
    made: list[ApiWorld] = []

    def make(clock: Callable[[], float] = time, **settings: Any) -> ApiWorld:
        return _make(prepared, tmp_path, made, clock, **settings)

    yield make
    for api in made:
        api.close()


@pytest.fixture
def api(make_api: MakeApi) -> ApiWorld:
    return make_api()


@pytest.fixture(scope="module")
def shared(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiWorld]:
    """For tests that change nothing, or only names of their own."""
    api = _make(prepared, tmp_path_factory.mktemp("shared"), [], time)
    yield api
    api.close()


@pytest.fixture
def tus(api: ApiWorld) -> Tus:
    return Tus(api.client)
