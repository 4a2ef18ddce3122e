"""The database's connection dies, hangs, or is refused around COMMIT (scenarios 4 and 37): success only if it is there.

PostgreSQL behind a proxy that knows the word COMMIT.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from common.errors import CatalogueUnavailable, NoSuchObject, OutcomeUnknown
from common.model.sizes import MIB
from common.model.versions import Preconditions
from tests.conftest import NodeFactory
from tests.support.gateway import BUCKET, Gateway
from tests.support.proxy import Proxy

COMMIT = b"COMMIT\0"  # with its end, or every BEGIN … READ COMMITTED would be taken for one
LOOKED_AFTER = b"pg_current_xact_id"  # a transaction whose COMMIT would be looked after asks for its id before


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    proxy = Proxy("127.0.0.1", urlsplit(postgres_url).port or 0)
    yield proxy
    proxy.close()


@pytest.fixture
def gateway(tmp_path: Path, node_factory: NodeFactory, postgres_url: str, proxy: Proxy) -> Iterator[Gateway]:
    parts = urlsplit(postgres_url)
    through = urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxy.port}")))
    gateway = Gateway(tmp_path, [node_factory("node1"), node_factory("node2")], through)
    gateway.put(b"what was there before", 1)
    yield gateway
    proxy.forward()
    gateway.close()


@pytest.mark.parametrize("size", [10_000, 9 * MIB])
def test_cut_before_the_database_has_it_nothing_was_stored_and_the_answer_says_so(
    gateway: Gateway, proxy: Proxy, size: int
) -> None:
    """A cut transaction is made again on another connection; here every one is cut."""
    proxy.cut_at(COMMIT)
    with pytest.raises(CatalogueUnavailable):
        gateway.put(bytes(size), 1)
    proxy.forward()
    assert gateway.get() == b"what was there before"


def test_cut_after_the_database_has_it_the_upload_is_a_success(gateway: Gateway, proxy: Proxy) -> None:
    proxy.cut_at(COMMIT, after=True)
    stored = gateway.put(b"new" * 5000, 1)
    proxy.forward()
    assert gateway.get() == b"new" * 5000
    assert gateway.catalogue.objects.find(BUCKET, "k").version.id == stored.version.id


def test_a_delete_whose_answer_was_cut_off_is_done(gateway: Gateway, proxy: Proxy) -> None:
    proxy.cut_at(COMMIT, after=True)
    gateway.catalogue.objects.delete(BUCKET, "k", Preconditions())
    proxy.forward()
    with pytest.raises(NoSuchObject):
        gateway.get()


def test_a_database_that_is_gone_refuses_at_once_and_serves_again_when_it_is_back(
    gateway: Gateway, proxy: Proxy
) -> None:
    proxy.refuse()
    began = time.monotonic()
    with pytest.raises(CatalogueUnavailable):
        gateway.put(b"x", 1)
    with pytest.raises(CatalogueUnavailable):
        gateway.get()
    assert time.monotonic() - began < 5
    proxy.forward()
    assert gateway.get() == b"what was there before"
    gateway.put(b"after", 2)
    assert gateway.get() == b"after"


def test_a_commit_that_nobody_can_look_after_is_of_unknown_outcome_and_nothing_of_it_is_deleted(
    gateway: Gateway, proxy: Proxy
) -> None:
    proxy.cut_at(COMMIT, first=LOOKED_AFTER, after=True, hang=True)
    with ThreadPoolExecutor(1) as client:
        upload = client.submit(gateway.put, b"new" * 5000, 1)
        assert proxy.marked.wait(10)
        proxy.refuse()
        with pytest.raises(OutcomeUnknown):
            upload.result(20)
    proxy.forward()
    assert gateway.get() == b"new" * 5000
