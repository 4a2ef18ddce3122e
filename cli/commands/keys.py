"""`boveda keys`: works on the keyring file itself, on the host of the API, which follows its changes.

`init` in order: 1 take the lock of the keyring, 2 refuse if there is one, 3 make a passphrase if none is there and none
is configured, 4 write a keyring with one key (the commit point). What fails in between leaves a passphrase at most, and
`init` goes on from there.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cli import output
from cli.command import ClientCommand
from common import settings
from common.crypto import keyring as ring
from common.crypto import sealedfile
from common.errors import KeyringError
from common.model.times import rfc3339
from common.settings import Settings

_PASSPHRASE_BYTES = 32


@click.group()
def keys() -> None:
    """The keyring: the keys under which all data keys are wrapped."""


@keys.command("init", cls=ClientCommand)
@click.option("--if-absent", is_flag=True, help="Do nothing, successfully, where there is a keyring.")
def init(if_absent: bool, as_json: bool) -> None:
    """Make a keyring with one key, and a passphrase where none is configured. Overwrites nothing."""
    config = settings.load()
    with _about(config):
        config.keyring.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with sealedfile.locked(config.keyring):
            created = not (if_absent and os.path.lexists(config.keyring))
            if created:
                _create(config)
        keyring = ring.read_keyring(config.keyring, config.passphrase)
    if as_json:
        output.document({"created": created, "active": keyring.active})
    elif created:
        click.echo(f"made {config.keyring} with key {keyring.active}, sealed under {config.passphrase}")
        click.echo("keep both, apart from each other: without them no object can be read")


def _create(config: Settings) -> None:
    if os.path.lexists(config.keyring):
        raise KeyringError("there is a keyring already; nothing was changed")
    if not os.path.lexists(config.passphrase):
        if config.passphrase_file is not None:
            raise KeyringError("BOVEDA_PASSPHRASE_FILE names a file that is not there; nothing was changed")
        sealedfile.replace(config.passphrase, secrets.token_urlsafe(_PASSPHRASE_BYTES).encode() + b"\n")
    kek = ring.new_kek(time.time())
    ring.write_keyring(config.keyring, ring.Keyring(kek.id, {kek.id: kek}), config.passphrase)


@keys.command("list", cls=ClientCommand)
def list_(as_json: bool) -> None:
    """The ids of the keys, when they were made, and which one is active."""
    keyring = _open(settings.load())
    rows = [
        {"id": kek.id, "created_at": rfc3339(kek.created_at), "active": kek.id == keyring.active}
        for kek in keyring.keks.values()
    ]
    if as_json:
        output.document({"keys": rows})
        return
    shown = [(row["id"], row["created_at"], "active" if row["active"] else "") for row in rows]
    output.columns([("KEY", "CREATED", "STATE"), *shown])


@keys.command("check", cls=ClientCommand)
def check(as_json: bool) -> None:
    """Open the keyring with its passphrase and test every key."""
    config = settings.load()
    keyring = _open(config)
    with _about(config):
        ring.check(keyring)
    if as_json:
        output.document({"ok": True, "keys": len(keyring.keks), "active": keyring.active})
    else:
        click.echo(f"the keyring opens; {len(keyring.keks)} key(s) tested, {keyring.active} is active")


def _open(config: Settings) -> ring.Keyring:
    with _about(config):
        return ring.read_keyring(config.keyring, config.passphrase)


@contextmanager
def _about(config: Settings) -> Iterator[None]:
    """Put the path in front of what is wrong: the operator has set it; the API's users never see it."""
    try:
        yield
    except KeyringError as error:
        raise KeyringError(f"{config.keyring}: {error.detail}") from None
    except OSError as error:
        raise KeyringError(f"{config.keyring}: {error.strerror}") from None
