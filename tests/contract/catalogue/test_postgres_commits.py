"""PostgreSQL alone: what is told when a COMMIT's answer is lost, and that what the server gave up is run again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, event, make_url

from common.catalogue.migrate import upgrade
from common.catalogue.sql import SqlCatalogue, open_catalogue
from common.catalogue.sql.engine import database
from common.errors import CatalogueUnavailable, NoSuchBucket, NoSuchObject, OutcomeUnknown
from common.model.jobs import JobKind, Scope
from common.model.versions import Preconditions
from tests.contract.catalogue.stage import Stage
from tests.support.proxy import Proxy
from tests.support.servers import RealPostgres

COMMIT = b"COMMIT\0"  # with its end, or every BEGIN … READ COMMITTED would be taken for one


@pytest.fixture
def stage(postgres_catalogue_url: str) -> Iterator[Stage]:
    """By a connection of its own, which nothing happens to: what is really there."""
    catalogue = open_catalogue(postgres_catalogue_url)
    yield Stage(catalogue)
    catalogue.close()


@pytest.fixture
def proxy(postgres_catalogue_url: str) -> Iterator[Proxy]:
    proxy = Proxy("127.0.0.1", make_url(postgres_catalogue_url).port or 0)
    yield proxy
    proxy.close()


@pytest.fixture
def far(stage: Stage, proxy: Proxy, postgres_catalogue_url: str) -> Iterator[SqlCatalogue]:
    """The same catalogue behind the proxy, with a connection that stands."""
    url = make_url(postgres_catalogue_url).set(port=proxy.port)
    catalogue = open_catalogue(url.render_as_string(hide_password=False))
    catalogue.now()
    yield catalogue
    catalogue.close()


@pytest.fixture(scope="module")
def crashing() -> Iterator[RealPostgres]:
    """A server of its own, which is killed."""
    server = RealPostgres()
    server.start()
    yield server
    server.kill()
    server.remove()


def put(stage: Stage, catalogue: SqlCatalogue) -> str:
    version = stage.version("a")
    catalogue.objects.commit(version, [stage.new_blob()], Preconditions())
    return version.id


def delete(catalogue: SqlCatalogue) -> object:
    return catalogue.objects.delete("papers", "a", Preconditions())


def terminate_before_commit(catalogue: SqlCatalogue, url: str) -> None:
    """The server ends the session of whoever is about to COMMIT."""
    plain = url.replace("+psycopg", "")

    def commit(connection: Connection) -> None:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with psycopg.connect(plain, autocommit=True) as admin:
            assert admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,)).fetchone() == (True,)

    event.listen(catalogue.database.engine, "commit", commit)


# -- the answer to COMMIT is lost


def test_a_session_ended_before_its_commit_leaves_nothing_and_is_told_as_such(
    stage: Stage, far: SqlCatalogue, postgres_catalogue_url: str
) -> None:
    kept = put(stage, stage.catalogue)
    terminate_before_commit(far, postgres_catalogue_url)
    writes: list[Callable[[], object]] = [
        lambda: put(stage, far),
        lambda: delete(far),
        lambda: far.buckets.put("photos", 3, 1),
    ]
    for write in writes:
        with pytest.raises(CatalogueUnavailable, match="nothing was stored"):
            write()
    assert stage.catalogue.objects.find("papers", "a").version.id == kept
    assert [bucket.name for bucket in stage.catalogue.buckets.all()] == ["papers"]


def test_a_put_whose_commits_answer_is_lost_is_a_success(stage: Stage, far: SqlCatalogue, proxy: Proxy) -> None:
    proxy.cut_at(COMMIT, after=True)
    assert put(stage, far) == stage.catalogue.objects.find("papers", "a").version.id


def test_a_delete_whose_commits_answer_is_lost_is_a_success(stage: Stage, far: SqlCatalogue, proxy: Proxy) -> None:
    version = put(stage, stage.catalogue)
    proxy.cut_at(COMMIT, after=True)
    assert delete(far) == version
    with pytest.raises(NoSuchObject):
        stage.catalogue.objects.find("papers", "a")


def test_what_leaves_nothing_to_know_it_by_is_a_success_too_when_the_answer_is_lost(
    stage: Stage, far: SqlCatalogue, proxy: Proxy
) -> None:
    proxy.cut_at(COMMIT, after=True)
    assert far.buckets.put("photos", 3, 1)[1]
    job = far.jobs.create(JobKind.REPAIR, Scope(), dry_run=False, force=False)
    assert far.nodes.set_mode("node3", "draining", None).mode.value == "draining"
    far.buckets.delete("photos")
    assert stage.catalogue.jobs.get(job.id) == job
    with pytest.raises(NoSuchBucket):
        stage.catalogue.buckets.get("photos")


@pytest.mark.parametrize("what", ["put", "delete", "bucket", "job"])
def test_a_server_that_is_gone_after_its_commit_leaves_the_outcome_unknown_within_a_bounded_time(
    stage: Stage, far: SqlCatalogue, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(database, "DOUBT_SECONDS", 0.5)
    put(stage, stage.catalogue)
    writes: dict[str, Callable[[], object]] = {
        "put": lambda: put(stage, far),
        "delete": lambda: delete(far),
        "bucket": lambda: far.buckets.put("photos", 3, 1),
        "job": lambda: far.jobs.create(JobKind.REPAIR, Scope(), dry_run=False, force=False),
    }
    proxy.cut_at(COMMIT, after=True, hang=True)
    with ThreadPoolExecutor(1) as client:
        told = client.submit(writes[what])
        assert proxy.marked.wait(10)
        gone = time.monotonic()
        proxy.refuse()
        with pytest.raises(OutcomeUnknown):
            told.result(10)
    assert 0.4 < time.monotonic() - gone < 5


@pytest.mark.parametrize("what", ["put", "delete", "bucket"])
def test_another_transactions_success_after_a_crash_is_not_taken_for_ours(
    crashing: RealPostgres, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(database, "DOUBT_SECONDS", 60)
    url = crashing.url(crashing.create())
    near = open_catalogue(url)
    upgrade(near)
    stage = Stage(near)
    kept = put(stage, near)
    proxy = Proxy("127.0.0.1", crashing.port)
    far = open_catalogue(make_url(url).set(port=proxy.port).render_as_string(hide_password=False))
    far.now()
    writes: dict[str, Callable[[], object]] = {
        "put": lambda: put(stage, far),
        "delete": lambda: delete(far),
        "bucket": lambda: far.buckets.put("photos", 3, 1),
    }
    crashing.settle()
    ours = noted_ids(far)
    proxy.cut_at(COMMIT, hang=True)
    with ThreadPoolExecutor(1) as client:
        told = client.submit(writes[what])
        assert proxy.marked.wait(10)
        crashing.kill()
        proxy.refuse()
        crashing.start()
        first = take_ids(url, upto=int(ours[0]))
        assert first <= int(ours[0]), "the crash is to give our id out again"
        proxy.forward()
        with pytest.raises(OutcomeUnknown):
            told.result(30)
    assert near.objects.find("papers", "a").version.id == kept
    for catalogue in (near, far):
        catalogue.close()
    proxy.close()


def noted_ids(catalogue: SqlCatalogue) -> list[str]:
    """Fills with the ids of transactions that are about to be committed."""
    ids: list[str] = []

    def commit(connection: Connection) -> None:
        ids.append(connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one())

    event.listen(catalogue.database.engine, "commit", commit)
    return ids


def take_ids(url: str, upto: int) -> int:
    """Commit transactions of one's own until that id is among them; the first of their ids."""
    first = 0
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as admin:
        while True:
            row = admin.execute("SELECT pg_current_xact_id()::text").fetchone()
            assert row is not None
            first = first or int(row[0])
            if int(row[0]) >= upto:
                return first


# -- what the server gave up


def test_the_transaction_that_a_deadlock_was_resolved_by_is_run_again(stage: Stage) -> None:
    stage.catalogue.buckets.put("photos", 3, 1)
    both_hold_one = threading.Barrier(2)
    runs: list[str] = []

    def writing(first: str, second: str) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            runs.append(first)
            connection.exec_driver_sql(f"UPDATE buckets SET copies = copies + 1 WHERE name = '{first}'")
            if len(runs) <= 2:
                both_hold_one.wait(10)
            connection.exec_driver_sql(f"UPDATE buckets SET copies = copies + 1 WHERE name = '{second}'")

        return work

    write = stage.catalogue.database.write
    with ThreadPoolExecutor(2) as pool:
        for result in [
            pool.submit(write, writing("papers", "photos")),
            pool.submit(write, writing("photos", "papers")),
        ]:
            result.result(20)
    assert len(runs) == 3, "one of the two ran twice"
    assert [bucket.copies for bucket in stage.catalogue.buckets.all()] == [5, 5], "and each took effect once"


@pytest.mark.parametrize("state", ["40001", "40P01"])
@pytest.mark.parametrize("times", [1, 9, 10])
def test_what_the_server_gives_up_is_run_ten_times_in_all(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, state: str, times: int
) -> None:
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)
    runs: list[Any] = []

    def work(connection: Connection) -> str:
        runs.append(state)
        connection.exec_driver_sql("UPDATE buckets SET copies = copies + 1")
        if len(runs) <= times:
            connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$")
        return "done"

    if times < 10:
        assert stage.catalogue.database.write(work) == "done"
    else:
        with pytest.raises(CatalogueUnavailable):
            stage.catalogue.database.write(work)
    assert len(runs) == min(times + 1, 10)
    assert stage.catalogue.buckets.get("papers").copies == (4 if times < 10 else 3)
