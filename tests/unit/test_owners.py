"""The names under which processes hold leases."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from api.wiring import owner_name as api_owner
from workers.wiring import owner_name as worker_owner


@pytest.mark.parametrize("name", [api_owner, worker_owner])
def test_an_owner_fits_its_columns_however_long_the_hosts_name_is(
    monkeypatch: pytest.MonkeyPatch, name: Callable[[], str]
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 63)
    monkeypatch.setattr("os.getpid", lambda: 4_194_304)  # the most Linux gives
    owner = name()
    assert len(owner) <= 64, "copies.lease_owner, leases.owner"
    assert name() != owner
