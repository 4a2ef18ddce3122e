"""What stays on the user's screen of a start: where each process can be reached, and why it failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.cluster.board import Board, Plain
from cli.cluster.supervisor.child import Child
from tests.unit.cli.cluster.fakes import serving

URL = "http://127.0.0.1:5000"


def test_without_a_terminal_each_process_is_named_with_its_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = serving(tmp_path, "node1", 9001, "node")
    Plain(URL, tmp_path / "log").up([Child(spec)])
    shown = capsys.readouterr().out
    assert f"node1    {spec.launch.endpoint}\n" in shown
    assert f"Bóveda is up at {URL}\n" in shown


def test_a_reader_that_went_away_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("click.echo", gone)
    Plain(URL, tmp_path / "log").up([Child(serving(tmp_path, "node1", 9001, "node"))])
    assert f"Bóveda is up at {URL}\n" in (tmp_path / "log").read_text()


def test_why_a_start_failed_is_said_when_the_board_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Board(URL, tmp_path / "log") as board:
        board.fail("keys failed; wrong passphrase")
        for number in range(10):
            board.say(f"node{number}: ended")
    assert capsys.readouterr().err == "keys failed; wrong passphrase\n"
    assert "wrong passphrase" in (tmp_path / "log").read_text()
