"""The catalogue is locked, slow, or out of space (scenario 37): uploads are refused cleanly, downloads go on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.history import History
from tests.faults.small_disk import fill, small_disk
from tests.support.cluster import Cluster, running_cluster
from tests.support.waiting import wait_until


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """A foreign writer that knows nothing of the lock files."""
    connection = sqlite3.connect(database, isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_while_the_catalogue_is_locked_uploads_are_refused_and_downloads_served(cluster: Cluster) -> None:
    history = History(cluster, "locked")
    history.upload_many(10)
    cluster.wait_converged()
    with locked(cluster.home / "catalogue.db"):
        refused = cluster.put("while-locked", b"x")
        assert (refused.status, "Retry-After" in refused.headers) == (503, True)
        assert cluster.put(next(iter(history.acknowledged)), b"x").status == 503
        assert cluster.delete(next(iter(history.acknowledged))).status == 503
        assert history.wrong() == []
        assert cluster.get("while-locked").status == 404
    history.upload_many(5)
    assert history.refused == []
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])
    assert cluster.get("while-locked").status == 404


def test_with_a_catalogue_that_is_slow_every_upload_succeeds_or_is_refused_whole(cluster: Cluster) -> None:
    history = History(cluster, "slow")
    over = threading.Event()

    def hog() -> None:
        while not over.wait(0.05):
            with locked(cluster.home / "catalogue.db"):
                over.wait(0.3)

    thread = threading.Thread(target=hog)
    thread.start()
    try:
        history.upload_many(40)
    finally:
        over.set()
        thread.join()
    assert len(history.acknowledged) >= 20
    assert all(told.startswith("503 ") for told in history.refused)
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])
    listed = cluster.ask("GET", "/v1/buckets/archivos/objects?prefix=slow").json()["objects"]
    assert {found["key"] for found in listed} == set(history.acknowledged)


def test_on_a_full_disk_the_catalogue_refuses_uploads_serves_downloads_and_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    with (
        small_disk(tmp_path / "disk", 16) as disk,
        running_cluster(
            tmp_path / "home", BOVEDA_DOOM_DELAY="1", BOVEDA_DATABASE_URL=f"sqlite:///{disk}/catalogue.db"
        ) as cluster,
    ):
        history = History(cluster, "full")
        history.upload_many(10)
        cluster.wait_converged()
        filler = fill(disk)

        def refused() -> bool:
            history.upload_many(40)
            return bool(history.refused)

        wait_until(refused, 60, "the disk is full, and so is the journal")
        assert all(told.startswith(("503 ", "500 ")) for told in history.refused)
        assert history.wrong() == []
        unknown = [told for told in history.refused if told.startswith("500 ")]
        assert all("outcome-unknown" in told for told in unknown)
        filler.unlink()
        wait_until(history.upload, 30, "uploads are taken again")
        cluster.wait_converged()
        assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])
