"""The workers' health check against lists of clients as Redis writes them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_FILE = Path(__file__).resolve().parents[3] / "compose" / "queue_in_use.py"
_SPEC = importlib.util.spec_from_file_location("queue_in_use", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
check = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(check)


def client(address: str = "10.0.0.5:4000", idle: int = 1, cmd: str = "brpop", psub: int = 0) -> str:
    return f"id=7 addr={address} laddr=10.0.0.2:6379 fd=9 name= age=90 idle={idle} db=0 sub=0 psub={psub} cmd={cmd}\n"


def test_a_worker_that_waits_for_messages_is_alive() -> None:
    assert check.in_use("10.0.0.5", client(idle=20))


@pytest.mark.parametrize(
    "listing",
    [
        client(idle=21),
        client(address="10.0.0.50:4000"),
        client(cmd="client|list", idle=0),
        client(cmd="client", idle=0),
        client(cmd="psubscribe", psub=1),
        "",
    ],
    ids=["idle too long", "somebody else", "the check itself", "the check before Redis 7", "a subscription", "nobody"],
)
def test_other_clients_do_not_make_it_alive(listing: str) -> None:
    assert not check.in_use("10.0.0.5", listing)
