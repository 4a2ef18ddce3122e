"""Settings that carry a secret can lie in files, so that no environment has to hold them."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigurationError
from common.settings import load


def test_a_setting_is_read_from_its_file_without_the_final_newline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "boveda_redis_url").write_text("redis://:secret@queue:6379/0\n")
    monkeypatch.delenv("BOVEDA_REDIS_URL", raising=False)
    monkeypatch.setenv("BOVEDA_SECRETS_DIR", str(tmp_path))
    assert load().redis_url.get_secret_value() == "redis://:secret@queue:6379/0"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "boveda_redis_url").write_text("redis://from-the-file:6379/0")
    monkeypatch.setenv("BOVEDA_REDIS_URL", "redis://from-the-environment:6379/0")
    monkeypatch.setenv("BOVEDA_SECRETS_DIR", str(tmp_path))
    assert load().redis_url.get_secret_value() == "redis://from-the-environment:6379/0"


def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOVEDA_HOME", "BOVEDA_PORT", "BOVEDA_KEYRING_FILE"):
        monkeypatch.delenv(name, raising=False)
    defaults = load()
    for name in ("BOVEDA_HOME", "BOVEDA_PORT", "BOVEDA_KEYRING_FILE"):
        monkeypatch.setenv(name, "")
    assert load() == defaults, "a home that is the present folder would be wiped with all in it"


def test_a_missing_folder_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOVEDA_SECRETS_DIR", str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match=r"BOVEDA_SECRETS_DIR: Path does not point to a directory"):
        load()


def test_a_wrong_value_in_a_file_is_reported_without_the_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "boveda_port").write_text("not-a-port-4711")
    monkeypatch.delenv("BOVEDA_PORT", raising=False)
    monkeypatch.setenv("BOVEDA_SECRETS_DIR", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"BOVEDA_PORT") as caught:
        load()
    assert "4711" not in str(caught.value)
