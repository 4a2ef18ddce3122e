"""Beat as it is started, on a real queue."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from celery.beat import PersistentScheduler
from celery.schedules import schedule

from common.queue.base import Queue, TaskName
from common.queue.celery import make_app
from common.settings import Settings
from tests.contract.queue.conftest import decode, pop
from tests.support.servers import RealQueue
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def beat(redis: RealQueue, home: Path, *arguments: str) -> Iterator[Path]:
    """A running beat; its log."""
    log = home / "beat.log"
    command = [sys.executable, "-m", "celery", "-A", "workers.celery", "beat", "--pidfile=", *arguments]
    own = {"BOVEDA_HOME": str(home), "BOVEDA_REDIS_URL": redis.url, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env={**os.environ, **own}, cwd=home, stdout=file, stderr=file)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(20)


def took_one(redis: RealQueue) -> bool:
    message = pop(redis, Queue.CONTROL)
    return message is not None and decode(message) == (TaskName.SWEEP, ())


def test_a_schedule_that_was_written_when_the_clock_was_ahead_keeps_no_sweep_away(
    redis_server: RealQueue, tmp_path: Path
) -> None:
    path = str(tmp_path / "schedule")
    app = make_app(Settings(redis_url="redis://127.0.0.1:1/0"))
    old = PersistentScheduler(app=app, schedule_filename=path)
    ahead = datetime.now(UTC) + timedelta(hours=3)
    old.schedule["sweep"] = old.Entry(
        name="sweep", task=TaskName.SWEEP.value, schedule=schedule(2), last_run_at=ahead, app=app
    )
    old.close()
    with beat(redis_server, tmp_path, "--schedule", path) as log:
        wait_until(lambda: took_one(redis_server), 30, f"a sweep is sent for: {log}")
        wait_until(lambda: took_one(redis_server), 10, "another one is")


def test_a_queue_that_goes_and_comes_back_is_two_lines_in_the_log_and_no_traceback(
    redis_server: RealQueue, tmp_path: Path
) -> None:
    with beat(redis_server, tmp_path) as log:
        wait_until(lambda: took_one(redis_server), 30, f"a sweep is sent for: {log}")
        redis_server.kill()
        wait_until(lambda: "beat_queue_away" in log.read_text(), 20, "it is missed")
        redis_server.start()
        wait_until(lambda: "beat_queue_back" in log.read_text(), 20, "it is found again")
        wait_until(lambda: took_one(redis_server), 10, "a sweep is sent for")
    text = log.read_text()
    assert (text.count("beat_queue_away"), text.count("beat_queue_back")) == (1, 1)
    assert "Traceback" not in text
    assert redis_server.password not in text
