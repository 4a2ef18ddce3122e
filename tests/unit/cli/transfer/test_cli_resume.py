"""Downloads that break: they go on where they were, by themselves or when the command is given again."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.commands.transfer import cat, get
from cli.transfer import backoff
from tests.unit.cli.conftest import Run, Start
from tests.unit.cli.stand_in import Reply, Request, StandIn, problem

OLD, NEW = os.urandom(100_000), os.urandom(90_000)


class Store:
    """An honest API with one object, whose connections break: `script[n]` is what becomes of the n-th request.

    A number: the connection ends after so many bytes of the body. A Reply: that instead. None, or no more: all is well.
    """

    def __init__(self, api: StandIn, *script: int | Reply | None, body: bytes = OLD, etag: str = '"v1"') -> None:
        self.api = api
        self.script: Sequence[int | Reply | None] = script
        self.body, self.etag = body, etag
        self.ranges = True
        self.hang: threading.Event | None = None
        api.answer = self.answer

    def answer(self, request: Request) -> Reply:
        turn = len(self.api.requests)
        act = self.script[turn] if turn < len(self.script) else None
        if isinstance(act, Reply):
            return act
        sha = base64.b64encode(hashlib.sha256(self.body).digest()).decode()
        headers = {"Repr-Digest": f"sha-256=:{sha}:", "ETag": self.etag}
        asked = request.headers.get("Range")
        if asked is None or request.headers.get("If-Range") != self.etag or not self.ranges:
            return Reply(200, self.body, headers, cut=act, hang=self.hang)
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(self.body):
            return problem(416, "no such range")
        headers["Content-Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        return Reply(206, self.body[start:], headers, cut=act, hang=self.hang)

    def asked(self) -> list[tuple[str | None, str | None]]:
        return [(request.headers.get("Range"), request.headers.get("If-Range")) for request in self.api.requests]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "PAUSES", (0.0, 0.0, 0.0))


def left() -> dict[str, int]:
    return {name: Path(name).stat().st_size for name in os.listdir()}


def test_a_download_that_breaks_goes_on_where_it_was(run: Run, api: StandIn) -> None:
    store = Store(api, 30_000, 50_000)
    result = run(get, "cubo/f")
    assert (result.exit_code, Path("f").read_bytes()) == (0, OLD)
    assert store.asked() == [(None, None), ("bytes=30000-", '"v1"'), ("bytes=80000-", '"v1"')]
    assert os.listdir() == ["f"]


def test_every_new_byte_begins_the_waits_anew(run: Run, api: StandIn) -> None:
    Store(api, *[5000] * 15)
    assert run(get, "cubo/f").exit_code == 0
    assert Path("f").read_bytes() == OLD


def test_a_store_that_stays_away_is_4_and_the_same_command_goes_on(run: Run, api: StandIn) -> None:
    Path("f").write_text("before")
    away = problem(503, "no node")
    store = Store(api, 70_000, away, 0, away)
    result = run(get, "cubo/f")
    assert (result.exit_code, len(api.requests)) == (4, 4)
    assert left() == {"f": 6, ".f.v1.boveda-part": 70_000}
    assert Path(".f.v1.boveda-part").stat().st_mode & 0o777 == 0o600

    store.script = [None] * 4 + [away]
    assert run(get, "cubo/f").exit_code == 4
    assert left()[".f.v1.boveda-part"] == 69_999, "a store that is away costs nothing but the byte that is asked again"

    assert run(get, "cubo/f").exit_code == 0
    assert store.asked()[-1] == ("bytes=69998-", '"v1"')
    assert (left(), Path("f").read_bytes()) == ({"f": len(OLD)}, OLD)


def test_giving_up_says_what_is_kept(run: Run, api: StandIn) -> None:
    Store(api, 70_000, 0, 0, 0, 0)
    result = run(get, "cubo/f")
    assert result.exit_code == 4
    assert "68.4 KiB are kept, the same command goes on from there" in result.stderr


def test_a_store_that_gives_nothing_is_asked_once(run: Run, api: StandIn) -> None:
    Store(api, *[problem(503, "no node")] * 9)
    assert (run(get, "cubo/f").exit_code, len(api.requests), os.listdir()) == (4, 1, [])


def test_a_server_that_cuts_at_the_same_place_and_knows_no_ranges_is_given_up(run: Run, api: StandIn) -> None:
    store = Store(api, *[60_000, 50_000, 60_000] * 9)
    store.ranges = False
    assert (run(get, "cubo/f").exit_code, len(api.requests)) == (4, 4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_download_that_was_ended_goes_on_when_the_command_is_given_again(
    start: Start, run: Run, api: StandIn, tmp_path: Path, number: signal.Signals
) -> None:
    store = Store(api, 40_000)
    store.hang = threading.Event()
    process = start(get, "cubo/f")
    part = tmp_path / ".f.v1.boveda-part"
    while not part.exists() or part.stat().st_size < 30_000:  # ends by pytest's timeout if it never comes
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    process.wait(20)
    store.hang.set()
    had = part.stat().st_size
    assert run(get, "cubo/f").exit_code == 0
    assert store.asked()[1:] == [(f"bytes={had - 1}-", '"v1"')]
    assert (left(), Path("f").read_bytes()) == ({"f": len(OLD)}, OLD)


def test_a_changed_object_is_fetched_from_its_beginning(run: Run, api: StandIn) -> None:
    Path(".f.v1.boveda-part").write_bytes(OLD[:50_000])
    store = Store(api, 20_000, body=NEW, etag='"v2"')
    assert run(get, "cubo/f").exit_code == 0
    assert store.asked() == [("bytes=49999-", '"v1"'), ("bytes=20000-", '"v2"')]
    assert (left(), Path("f").read_bytes()) == ({"f": len(NEW)}, NEW)


def test_an_object_that_changes_while_it_is_fetched_comes_whole(run: Run, api: StandIn) -> None:
    store = Store(api, 20_000)

    def answer(request: Request) -> Reply:
        if api.requests:
            store.body, store.etag = NEW, '"v2"'
        return store.answer(request)

    api.answer = answer
    assert run(get, "cubo/f").exit_code == 0
    assert (left(), Path("f").read_bytes()) == ({"f": len(NEW)}, NEW)


def test_a_part_with_wrong_bytes_is_fetched_once_more_as_a_whole(run: Run, api: StandIn) -> None:
    Path(".f.v1.boveda-part").write_bytes(b"x" * 50_000)
    store = Store(api)
    assert run(get, "cubo/f").exit_code == 0
    assert store.asked() == [("bytes=49999-", '"v1"'), (None, None)]
    assert (left(), Path("f").read_bytes()) == ({"f": len(OLD)}, OLD)


def test_a_part_that_is_longer_than_the_object_is_begun_anew(run: Run, api: StandIn) -> None:
    Path(".f.v1.boveda-part").write_bytes(OLD + b"more")
    Store(api)
    assert run(get, "cubo/f").exit_code == 0
    assert (left(), Path("f").read_bytes()) == ({"f": len(OLD)}, OLD)


def test_a_part_of_an_object_that_is_gone_goes_too(run: Run, api: StandIn) -> None:
    Path(".f.v1.boveda-part").write_bytes(OLD[:50_000])
    assert (run(get, "cubo/f").exit_code, os.listdir()) == (3, [])


def test_parts_of_other_files_are_left_alone(run: Run, api: StandIn) -> None:
    for name in (".f.txt.v1.boveda-part", ".other.v1.boveda-part"):
        Path(name).write_bytes(b"1")
    Store(api)
    assert run(get, "cubo/f").exit_code == 0
    assert sorted(os.listdir()) == [".f.txt.v1.boveda-part", ".other.v1.boveda-part", "f"]


def test_two_downloads_into_one_file_do_not_meet(run: Run, api: StandIn) -> None:
    part = Path(".f.v1.boveda-part")
    part.write_bytes(b"another")
    with part.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        store = Store(api)
        assert run(get, "cubo/f").exit_code == 0
    assert store.asked() == [(None, None)]
    assert left() == {"f": len(OLD), part.name: 7}


def test_the_longest_name_has_room_for_its_part(run: Run, api: StandIn) -> None:
    name = "ñ" * 127
    store = Store(api, 30_000, 0, 0, 0, 0, etag='"0190b0ab-0000-7000-8000-000000000000"')
    assert run(get, "cubo/f", name).exit_code == 4
    assert run(get, "cubo/f", name).exit_code == 0
    assert (store.asked()[-1][0], left()) == ("bytes=29999-", {name: len(OLD)})


def test_another_range_than_asked_for_is_not_taken(run: Run, api: StandIn) -> None:
    wrong = Reply(206, OLD[5:], {"ETag": '"v1"', "Content-Range": f"bytes 5-{len(OLD) - 1}/{len(OLD)}"})
    Store(api, 30_000, wrong)
    result = run(get, "cubo/f")
    assert (result.exit_code, os.listdir()) == (1, [])
    assert "another range than was asked for" in result.stderr


def test_standard_output_goes_on_within_a_run(run: Run, api: StandIn) -> None:
    store = Store(api, 30_000)
    result = run(cat, "cubo/f")
    assert (result.exit_code, result.stdout_bytes) == (0, OLD)
    assert store.asked() == [(None, None), ("bytes=30000-", '"v1"')]


def test_standard_output_never_gets_two_versions(run: Run, api: StandIn) -> None:
    store = Store(api, 30_000)

    def answer(request: Request) -> Reply:
        if api.requests:
            store.body, store.etag = NEW, '"v2"'
        return store.answer(request)

    api.answer = answer
    result = run(get, "cubo/f", "-")
    assert (result.exit_code, result.stdout_bytes) == (1, OLD[:30_000])
    assert "was replaced while it was read" in result.stderr
