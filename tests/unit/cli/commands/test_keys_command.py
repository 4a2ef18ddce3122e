from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.commands.keys import keys
from common.crypto import keyring as ring
from common.crypto import sealedfile
from common.crypto.keyring import read_keyring


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; keys are derived at a low cost, the same code otherwise."""
    home = tmp_path / "home"
    for name in ("KEYRING_FILE", "PASSPHRASE_FILE"):
        monkeypatch.delenv(f"BOVEDA_{name}", raising=False)
    monkeypatch.setenv("BOVEDA_HOME", str(home))
    monkeypatch.setattr(ring.write_keyring, "__defaults__", (sealedfile.Cost(n=16),))
    return home


def run(*arguments: str) -> Result:
    return CliRunner().invoke(keys, arguments)


def contents(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir()}


def test_init_makes_a_private_passphrase_and_a_keyring_with_one_active_key(home: Path) -> None:
    result = run("init")
    assert result.exit_code == 0
    for name in ("passphrase", "keyring.json"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    keyring = read_keyring(home / "keyring.json", home / "passphrase")
    assert list(keyring.keks) == [keyring.active]
    assert keyring.active in result.stdout
    assert len((home / "passphrase").read_bytes()) >= 40
    assert (home / "passphrase").read_text().strip() not in result.output


def test_init_overwrites_nothing(home: Path) -> None:
    assert run("init").exit_code == 0
    before = contents(home)
    again = run("init")
    assert again.exit_code == 1
    assert len(again.stderr.splitlines()) == 1
    assert "there is a keyring already" in again.stderr
    assert contents(home) == before


def test_init_if_absent_succeeds_and_changes_nothing_the_second_time(home: Path) -> None:
    first = json.loads(run("init", "--if-absent", "--json").stdout)
    before = contents(home)
    second = json.loads(run("init", "--if-absent", "--json").stdout)
    assert first["created"] is True
    assert second == {"created": False, "active": first["active"]}
    assert contents(home) == before


def test_init_makes_no_second_passphrase_for_a_keyring_that_has_lost_its_own(home: Path) -> None:
    run("init")
    (home / "passphrase").unlink()
    assert run("init").exit_code == 1
    assert run("init", "--if-absent").exit_code == 1
    assert not (home / "passphrase").exists()


def test_init_uses_the_passphrase_that_is_configured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = home.parent / "secret"
    secret.write_text("mine\n")
    monkeypatch.setenv("BOVEDA_PASSPHRASE_FILE", str(secret))
    assert run("init").exit_code == 0
    assert secret.read_text() == "mine\n"
    assert not (home / "passphrase").exists()
    assert read_keyring(home / "keyring.json", secret).keks


def test_init_makes_nothing_if_the_configured_passphrase_is_not_there(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOVEDA_PASSPHRASE_FILE", str(home.parent / "not-mounted"))
    result = run("init")
    assert result.exit_code == 1
    assert "BOVEDA_PASSPHRASE_FILE" in result.stderr
    assert not (home / "keyring.json").exists()
    assert not (home.parent / "not-mounted").exists()


def test_list_shows_ids_times_and_which_one_is_active(home: Path) -> None:
    active = json.loads(run("init", "--json").stdout)["active"]
    (shown,) = json.loads(run("list", "--json").stdout)["keys"]
    assert shown["id"] == active
    assert shown["active"] is True
    assert shown["created_at"].endswith("Z")
    (line,) = [line for line in run("list").stdout.splitlines() if active in line]
    assert line.split() == [active, shown["created_at"], "active"]


def test_check_opens_the_keyring_and_tests_every_key(home: Path) -> None:
    active = json.loads(run("init", "--json").stdout)["active"]
    assert json.loads(run("check", "--json").stdout) == {"ok": True, "keys": 1, "active": active}
    assert active in run("check").stdout


@pytest.mark.parametrize("command", ["check", "list"])
def test_a_wrong_passphrase_is_one_line_and_status_1(home: Path, command: str) -> None:
    run("init")
    (home / "passphrase").write_text("wrong\n")
    result = run(command)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "wrong passphrase" in line
    assert str(home / "keyring.json") in line
    assert json.loads(run(command, "--json").stderr)["title"] == "KeyringError"


@pytest.mark.parametrize("command", ["check", "list"])
def test_without_a_keyring_it_says_so(home: Path, command: str) -> None:
    result = run(command)
    assert result.exit_code == 1
    assert "there is no keyring" in result.stderr


def test_a_home_that_cannot_be_made_is_one_line(home: Path) -> None:
    home.write_text("a file where the folder should be")
    result = run("init")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_no_command_prints_a_key(home: Path) -> None:
    run("init")
    keyring = read_keyring(home / "keyring.json", home / "passphrase")
    secrets = [kek.key.get_secret_value().hex()[:16] for kek in keyring.keks.values()]
    for arguments in (("list",), ("list", "--json"), ("check",), ("check", "--json"), ("init",)):
        output = run(*arguments).output
        assert output
        assert not any(secret in output for secret in secrets)
