"""Addresses that cannot work are refused at start, in words, and without a piece of a password."""

from __future__ import annotations

import pytest

from common.errors import ConfigurationError
from common.settings import load

SECRET = "hidden"


def refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as error:
        load()
    return error.value.detail


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"redis://:{SECRET}/{SECRET}@127.0.0.1:6379/0", "%2F"),
        (f"unix:///{SECRET}.sock", "sockets are not supported"),
        (f"redis+socket:///{SECRET}.sock", "sockets are not supported"),
        ("127.0.0.1:6379/0", "redis://HOST:PORT/0"),
        ("redis:/127.0.0.1", "names no host"),
        ("redis://127.0.0.1:99999/0", "port"),
        ("amqp://127.0.0.1", "redis://HOST:PORT/0"),
        ("redis://127.0.0.1:6379/cero", "number of a database"),
    ],
)
def test_a_queue_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, url: str, words: str) -> None:
    told = refused(monkeypatch, "BOVEDA_REDIS_URL", url)
    assert "BOVEDA_REDIS_URL: " in told
    assert words in told
    assert SECRET not in told


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("foo", "postgresql://"),
        ("sqlite://", "names no file"),
        ("mysql://h/x", "postgresql://"),
        (f"postgresql://u:{SECRET}/x@h/x", "port"),
        ("postgresql://h:5432x/x", "port"),
        ("postgresql://h", "names no database"),
    ],
)
def test_a_database_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, url: str, words: str) -> None:
    told = refused(monkeypatch, "BOVEDA_DATABASE_URL", url)
    assert "BOVEDA_DATABASE_URL: " in told
    assert words in told
    assert SECRET not in told


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("BOVEDA_REDIS_URL", "redis://:w%2Fx@queue:6379/0"),
        ("BOVEDA_REDIS_URL", "rediss://[::1]/3?ssl_ca_certs=/etc/ca.pem"),
        ("BOVEDA_REDIS_URL", "redis://queue"),
        ("BOVEDA_DATABASE_URL", "postgresql+psycopg://u:p@127.0.0.1:5432/boveda"),
        ("BOVEDA_DATABASE_URL", "postgresql://u@/boveda?host=/run/postgresql"),
        ("BOVEDA_DATABASE_URL", "sqlite:////var/lib/boveda/catalogue.db"),
    ],
)
def test_what_can_be_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    monkeypatch.setenv(name, url)
    assert load()


@pytest.mark.parametrize("hosts", ["almacen.lan:5500", "*", ".lan", "a.lan,127.0.0.1:5500", "http://a.lan"])
def test_a_host_that_would_match_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    assert "BOVEDA_ALLOWED_HOSTS: has hosts only" in refused(monkeypatch, "BOVEDA_ALLOWED_HOSTS", hosts)


def test_a_misspelt_setting_is_told_beside_what_else_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOVEDA_DATABSE_URL", "postgresql://h/x")
    told = refused(monkeypatch, "BOVEDA_PORT", "no")
    assert "BOVEDA_DATABSE_URL: there is no such setting; BOVEDA_DATABASE_URL is one" in told
    assert "BOVEDA_PORT: " in told


@pytest.mark.parametrize("name", ["BOVEDA_TOKEN", "BOVEDA_MINIO", "BOVEDA_SOMETHING_OF_SOMEBODY"])
def test_names_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "/nowhere")
    assert load()
