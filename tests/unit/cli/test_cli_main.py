"""The root of the command line and `boveda config`."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from cli.commands.config import config
from cli.main import FAMILIES, main
from common.settings import Settings


@pytest.mark.parametrize("name", [name for family in FAMILIES.values() for name in family])
def test_every_command_in_the_overview_is_there(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    ran = CliRunner().invoke(main, [name, "--help"])
    assert ran.exit_code == 0
    assert name in ran.output


def test_the_overview_loads_no_family() -> None:
    program = (
        "import sys; from cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([m for m in sys.modules if m.startswith(('cli.', 'common'))])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "['cli.main']"
    assert all(name in ran.stdout for family in FAMILIES.values() for name in family)


def test_an_unknown_command_is_wrong_use() -> None:
    assert CliRunner().invoke(main, ["dance"]).exit_code == 2


def test_every_setting_is_shown_with_its_meaning_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOVEDA_REDIS_URL", "redis://:hidden1@queue:6379/0")
    monkeypatch.setenv("BOVEDA_DATABASE_URL", "postgresql://boveda:hidden2@db/boveda")
    monkeypatch.setenv("BOVEDA_NOTIFY", "tgram://hidden3/1")
    monkeypatch.setenv("BOVEDA_PORT", "5001")
    for arguments in ([], ["--json"]):
        ran = CliRunner().invoke(config, arguments)
        assert ran.exit_code == 0
        assert "hidden" not in ran.output
        assert all(f"BOVEDA_{name.upper()}" in ran.output for name in Settings.model_fields)
    rows = {row["name"]: row for row in json.loads(ran.output)["settings"]}
    assert (rows["BOVEDA_PORT"]["value"], rows["BOVEDA_PORT"]["default"], rows["BOVEDA_PORT"]["set"]) == (
        5001,
        5000,
        True,
    )
    assert rows["BOVEDA_HOST"]["set"] is False
    assert all(row["meaning"] for row in rows.values())


def test_all_wrong_settings_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"PORT": "no", "SWEEP_INTERVAL": "0", "HOST": "0.0.0.0", "WRITE_COPIES": "9"}  # with AUTH and COPIES unset
    for name, value in wrong.items():
        monkeypatch.setenv(f"BOVEDA_{name}", value)
    ran = CliRunner().invoke(config, [])
    assert ran.exit_code == 2
    named = [line.split(":")[0].strip() for line in ran.output.splitlines() if line.startswith("  BOVEDA_")]
    assert sorted(named) == ["BOVEDA_AUTH", "BOVEDA_PORT", "BOVEDA_SWEEP_INTERVAL", "BOVEDA_WRITE_COPIES"]
