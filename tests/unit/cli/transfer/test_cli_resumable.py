"""Large files go up piece by piece, and go on after a break: by themselves or when the command is given again."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from cli.commands.transfer import put
from cli.transfer import backoff, resumable
from common.model.sizes import MIB
from tests.unit.cli.conftest import Run, Start
from tests.unit.cli.stand_in import Reply, Request, StandIn, problem
from tests.unit.cli.tus_store import CUT, LOST, TusStore

SIZE = 100_000
CONTENT, OTHER = os.urandom(SIZE), os.urandom(SIZE)
AWAY = problem(503, "no node")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files of SIZE are large here, and there are no pauses."""
    monkeypatch.setattr(backoff, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(resumable, "LARGE", SIZE - 1)
    monkeypatch.setattr(resumable, "PIECE", 40_000)
    monkeypatch.setattr(resumable, "PIECE_LEAST", 10_000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "f").write_bytes(CONTENT)


def notes() -> list[Path]:
    return sorted(Path("state/boveda/uploads").glob("*"))


def test_a_large_file_goes_in_pieces_and_is_told_like_any(run: Run, api: StandIn) -> None:
    store = TusStore(api)
    result = run(put, "f", "cubo/dir/g", "--content-type", "a/b", "--meta", "Origen=clase 1", "--write-copies", "2")
    assert (result.exit_code, result.stdout) == (0, "cubo/dir/g  97.7 KiB  1/3 copies\n")
    assert store.stored == {"cubo/dir/g": CONTENT}
    assert [request.method for request in api.requests] == ["POST", "PATCH", "PATCH", "PATCH", "GET"]
    assert store.offsets() == [0, 40_000, 80_000]
    (begun,) = store.begun
    assert (begun["content_type"], begun["X-Meta-Origen"], begun["X-Write-Copies"]) == ("a/b", "clase 1", "2")
    assert notes() == []


def test_a_file_at_the_limit_goes_in_one_request(run: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "LARGE", SIZE)
    TusStore(api)
    api.answer = lambda request: problem(507, "enough") if request.method == "PUT" else Reply(500)
    assert "enough" in run(put, "f").stderr


@pytest.mark.parametrize("broken", [CUT, AWAY, problem(409, "held"), problem(460, "other bytes"), problem(500, "?")])
def test_an_upload_that_breaks_goes_on_where_it_was(run: Run, api: StandIn, broken: Reply) -> None:
    store = TusStore(api, None, broken, broken)
    assert run(put, "f").exit_code == 0
    assert store.stored == {"archivos/f": CONTENT}
    assert store.offsets()[:4] == [0, 40_000, 40_000, 40_000]
    assert (len(store.begun), notes()) == (1, [])


def test_pieces_get_smaller_where_they_do_not_come_through_and_grow_again(run: Run, api: StandIn) -> None:
    store = TusStore(api, CUT, CUT, CUT)
    assert run(put, "f").exit_code == 0
    assert [len(request.body) for request in store.of("PATCH")][3:] == [10_000, 20_000, 40_000, 30_000]


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_a_piece_whose_answer_was_lost_is_not_sent_again(run: Run, api: StandIn, turn: int) -> None:
    store = TusStore(api, *[None] * turn, LOST)
    assert run(put, "f").exit_code == 0
    assert store.stored == {"archivos/f": CONTENT}
    assert sum(len(request.body) for request in store.of("PATCH")) == SIZE


def test_every_piece_begins_the_waits_anew(run: Run, api: StandIn) -> None:
    store = TusStore(api, *[CUT, CUT, None] * 10)
    assert run(put, "f").exit_code == 0
    assert store.stored == {"archivos/f": CONTENT}


@pytest.mark.parametrize("broken", [AWAY, problem(409, "held"), CUT])
def test_a_store_that_stays_away_is_4_and_the_same_command_goes_on(run: Run, api: StandIn, broken: Reply) -> None:
    store = TusStore(api, None, *[broken] * 4)
    result = run(put, "f")
    assert (result.exit_code, len(store.of("PATCH"))) == (4, 5)
    assert "39.1 KiB of 97.7 KiB are kept, the same command goes on from there" in result.stderr
    (note,) = notes()
    assert (note.stat().st_mode & 0o777, note.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    store.away = AWAY
    assert run(put, "f").exit_code == 4
    assert notes() == [note]

    store.away = None
    assert run(put, "f").exit_code == 0
    assert store.offsets()[5] == 40_000
    assert (store.stored, len(store.begun), notes()) == ({"archivos/f": CONTENT}, 1, [])


def test_a_problem_stays_the_one_it_was_for_scripts(run: Run, api: StandIn) -> None:
    TusStore(api, None, *[AWAY] * 4)
    result = run(put, "f", "--json")
    shown = json.loads(result.stderr)
    assert (shown["status"], "are kept" in shown["detail"]) == (503, True)


def test_a_store_that_is_away_at_the_beginning_is_asked_once(run: Run, api: StandIn) -> None:
    TusStore(api).away = AWAY
    assert (run(put, "f").exit_code, len(api.requests), notes()) == (4, 1, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_upload_that_was_ended_goes_on_when_the_command_is_given_again(
    start: Start, run: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    # A process of its own has the real sizes.
    content = os.urandom(MIB) * 65
    Path("f").write_bytes(content)
    monkeypatch.setattr(resumable, "PIECE", 16 * MIB)
    store = TusStore(api)
    reached, over = threading.Event(), threading.Event()

    def on_patch(turn: int) -> None:
        if turn == 2:
            reached.set()
            over.wait(20)

    store.on_patch = on_patch
    process = start(put, "f")
    assert reached.wait(20)
    process.send_signal(number)
    process.wait(20)
    over.set()
    assert run(put, "f").exit_code == 0
    assert store.offsets()[3] == 48 * MIB
    assert (store.stored["archivos/f"] == content, len(store.begun), notes()) == (True, 1, [])


def test_a_changed_file_is_sent_anew_and_the_old_upload_ended(run: Run, api: StandIn) -> None:
    store = TusStore(api, None, *[CUT] * 4)
    run(put, "f")
    Path("f").write_bytes(OTHER)
    result = run(put, "f")
    assert (result.exit_code, store.stored, store.ended) == (0, {"archivos/f": OTHER}, ["u1"])
    assert "it is sent anew" in result.stderr


def test_other_options_begin_anew(run: Run, api: StandIn) -> None:
    store = TusStore(api, None, *[CUT] * 4)
    run(put, "f")
    assert run(put, "f", "--content-type", "a/b").exit_code == 0
    assert (store.ended, store.begun[1]["content_type"]) == (["u1"], "a/b")


def test_another_destination_is_another_upload(run: Run, api: StandIn) -> None:
    store = TusStore(api, None, *[CUT] * 4)
    run(put, "f")
    assert run(put, "f", "cubo/g").exit_code == 0
    assert (store.ended, len(notes()), store.stored) == ([], 1, {"cubo/g": CONTENT})


def test_an_expired_upload_is_begun_anew_and_told_of(run: Run, api: StandIn) -> None:
    store = TusStore(api, None, *[CUT] * 4)
    run(put, "f")
    del store.uploads["u1"]
    result = run(put, "f")
    assert (result.exit_code, store.stored, notes()) == (0, {"archivos/f": CONTENT}, [])
    assert "boveda: archivos/f: what was sent before has expired or was ended; it is sent anew" in result.stderr


def test_an_upload_that_expires_meanwhile_is_begun_anew(run: Run, api: StandIn) -> None:
    store = TusStore(api)

    def expire(turn: int) -> None:
        if turn == 1:
            del store.uploads["u1"]

    store.on_patch = expire
    result = run(put, "f")
    assert (result.exit_code, store.stored, len(store.begun)) == (0, {"archivos/f": CONTENT}, 2)


def test_nothing_is_told_to_scripts_but_the_document(run: Run, api: StandIn) -> None:
    store = TusStore(api, None, *[CUT] * 4)
    run(put, "f")
    del store.uploads["u1"]
    result = run(put, "f", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["objects"][0]["size"] == SIZE


def test_a_finished_upload_whose_end_was_not_seen_is_not_sent_again(run: Run, api: StandIn) -> None:
    store = TusStore(api, None, None, LOST)
    store.on_patch = lambda turn: setattr(store, "away", AWAY) if turn == 2 else None
    assert run(put, "f").exit_code == 4
    store.away = None
    assert run(put, "f").exit_code == 0
    assert (len(store.of("PATCH")), notes()) == (3, [])


def test_what_was_replaced_since_it_was_finished_is_sent_anew(run: Run, api: StandIn) -> None:
    store = TusStore(api, None, None, LOST)
    store.on_patch = lambda turn: setattr(store, "away", AWAY) if turn == 2 else None
    run(put, "f")
    store.away = None
    store.stored["archivos/f"], store.etags["archivos/f"] = OTHER, '"another"'
    assert run(put, "f").exit_code == 0
    assert (store.stored, len(store.begun)) == ({"archivos/f": CONTENT}, 2)


def test_a_file_that_changes_while_it_is_sent_leaves_nothing_visible(run: Run, api: StandIn) -> None:
    store = TusStore(api)
    store.on_patch = lambda turn: os.utime("f", (1, 1)) if turn == 1 else None
    result = run(put, "f")
    assert (result.exit_code, store.stored, store.ended, notes()) == (1, {}, ["u1"], [])
    assert "f changed while it was read; nothing was stored" in result.stderr


def test_bytes_that_change_after_the_last_look_are_not_taken(
    run: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "PIECE", 20 * MIB)
    Path("f").write_bytes(bytes(20 * MIB))
    store = TusStore(api)

    def change(_turn: int) -> None:
        with Path("f").open("r+b") as file:
            file.seek(19 * MIB)  # further than sockets hold: not read yet
            file.write(b"x")

    store.before_patch = change
    result = run(put, "f")
    assert (result.exit_code, store.stored, store.ended, notes()) == (1, {}, ["u1"], [])
    assert "f changed while it was read" in result.stderr


@pytest.mark.parametrize("length", [SIZE + 1, SIZE - 1, 0])
def test_a_file_that_grows_or_shrinks_while_it_is_sent_leaves_nothing_visible(
    run: Run, api: StandIn, length: int
) -> None:
    store = TusStore(api)
    store.on_patch = lambda turn: os.truncate("f", length) if turn == 1 else None
    result = run(put, "f")
    assert (result.exit_code, store.stored, store.ended, notes()) == (1, {}, ["u1"], [])


def test_a_second_put_of_the_same_file_is_kept_out(run: Run, api: StandIn) -> None:
    store = TusStore(api, None, *[CUT] * 4)
    run(put, "f")
    before = notes()[0].read_bytes()
    with notes()[0].open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        asked = len(api.requests)
        result = run(put, "f")
        assert (result.exit_code, len(api.requests), notes()[0].read_bytes()) == (4, asked, before)
    assert "another `boveda put` is sending this file to this object" in result.stderr
    assert (run(put, "f").exit_code, store.stored) == (0, {"archivos/f": CONTENT})


def test_a_note_that_makes_no_sense_is_not_believed(run: Run, api: StandIn) -> None:
    store = TusStore(api, None, *[CUT] * 4)
    for content in (b"", b"{", b"[]", b'{"upload": "/v1/nodes/node1", "terms": ""}'):
        run(put, "f")
        notes()[0].write_bytes(content)
        store.script = ()
        assert run(put, "f").exit_code == 0
        assert notes() == []
        store.script = [None] * len(store.of("PATCH")) + [None, *[CUT] * 4]


def test_without_a_place_for_notes_it_goes_up_all_the_same(
    run: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    store = TusStore(api, CUT)
    result = run(put, "f")
    assert (result.exit_code, store.stored) == (0, {"archivos/f": CONTENT})
    assert "nowhere to note how far it is" in result.stderr

    store.script = [None] * len(store.of("PATCH")) + [None, *[CUT] * 4]
    result = run(put, "f")
    assert (result.exit_code, store.ended, "are kept" in result.stderr) == (4, ["u2"], False)


@pytest.mark.parametrize(("status", "code", "ended"), [(413, 1, True), (507, 1, True), (401, 1, False)])
def test_what_will_not_pass_ends_it_and_what_another_token_may_do_does_not(
    run: Run, api: StandIn, status: int, code: int, ended: bool
) -> None:
    store = TusStore(api, None, problem(status, "no"))
    assert (run(put, "f").exit_code, bool(store.ended), notes() == []) == (code, ended, ended)


def test_a_bucket_that_is_not_there_is_3(run: Run, api: StandIn) -> None:
    TusStore(api).away = problem(404, "there is no bucket")
    assert (run(put, "f", "cubo/f").exit_code, notes()) == (3, [])


def test_a_token_that_may_not_read_can_write(run: Run, api: StandIn) -> None:
    TusStore(api).readable = False
    result = run(put, "f", "--meta", "A=b", "--json")
    (shown,) = json.loads(result.stdout)["objects"]
    assert (result.exit_code, shown["size"], shown["etag"], shown["metadata"]) == (0, SIZE, '"v-u1"', {"a": "b"})
    assert run(put, "f").stdout == "archivos/f  97.7 KiB\n"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(204, headers={"Upload-Offset": "40001"}),
        Reply(204, headers={"Upload-Offset": "0"}),
        Reply(204, headers={"Upload-Offset": str(SIZE)}),
        Reply(204, headers={"Upload-Offset": "x"}),
        Reply(204),
    ],
)
def test_a_server_that_does_not_count_is_not_believed(run: Run, api: StandIn, reply: Reply) -> None:
    TusStore(api, reply)
    result = run(put, "f")
    assert (result.exit_code, "is not a Bóveda API" in result.stderr) == (1, True)


@pytest.mark.parametrize("location", ["", "https://elsewhere.example/v1/nodes", "/v1/uploads/../nodes"])
def test_an_address_that_is_none_is_not_followed(run: Run, api: StandIn, location: str) -> None:
    def answer(request: Request) -> Reply:
        return Reply(201, headers={"Location": location})

    api.answer = answer
    result = run(put, "f")
    assert (result.exit_code, len(api.requests)) == (1, 1)
