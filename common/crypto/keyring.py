"""Who holds keys: the keyring with its key-encryption keys (KEKs), and the provider that wraps data keys with them.

A `Keyring` is a value: KEKs with ids, one of them active, sealed into one file under a passphrase (`sealedfile`).
`FileKeyring` is that file as a running process sees it: it follows changes, and does without while there is none.
Only the API and `boveda keys` import this module (a lint rule).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Protocol

from pydantic import SecretBytes

from common.crypto import sealedfile
from common.crypto.fields import fields
from common.crypto.siv import Siv
from common.errors import IntegrityError, KeyringBusy, KeyringError, KeysUnavailable
from common.model.names import new_id

FORMAT = "boveda-keyring-v1"
KEK = 64
KEKS_MAX = 1000  # bounds what a process keeps in memory
CHECK_SECONDS = 1.0


class KeyProvider(Protocol):
    """Wraps the data key of a version under a KEK. Safe across threads; no method retries.

    Every method raises KeysUnavailable while there is no usable key (no file, wrong passphrase, provider down): that
    ends by itself, and says nothing about the data. `context` is what the wrapped key belongs to
    (`envelope.dek_context` or `upload_context`); the provider binds the kek id as well.
    """

    def active(self) -> str:
        """Id of the KEK that new versions take."""

    def wrap(self, kek_id: str, dek: bytes, context: bytes) -> bytes:
        """The data key under that KEK; the same arguments give the same bytes. KeysUnavailable for an unknown id."""

    def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytes:
        """The data key. KeysUnavailable for an unknown id; IntegrityError if it was wrapped for anything else."""


@dataclass(frozen=True, slots=True)
class Kek:
    """A key-encryption key: 64 bytes for AES-SIV, which never print. `created_at` in seconds since the epoch."""

    id: str
    created_at: float
    key: SecretBytes
    _siv: Siv = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_siv", Siv(self.key))

    def wrap(self, dek: bytes, context: bytes) -> bytes:
        return self._siv.seal(dek, fields(self.id, context))

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return self._siv.unseal(wrapped, fields(self.id, context))


@dataclass(frozen=True, slots=True)
class Keyring:
    """KEKs by id, oldest first, and which one is active."""

    active: str
    keks: Mapping[str, Kek]


def new_kek(created_at: float) -> Kek:
    return Kek(new_id(), created_at, SecretBytes(os.urandom(KEK)))


def check(keyring: Keyring) -> None:
    """Wrap and unwrap with every KEK; KeyringError if one gives back something else or accepts a foreign context."""
    for kek in keyring.keks.values():
        dek = os.urandom(32)
        wrapped = kek.wrap(dek, b"self-test")
        if kek.unwrap(wrapped, b"self-test") != dek:
            raise KeyringError(f"key {kek.id} fails its self-test")
        try:
            kek.unwrap(wrapped, b"another context")
        except IntegrityError:
            continue
        raise KeyringError(f"key {kek.id} fails its self-test")


# -- the file


def read_keyring(path: Path, passphrase_file: Path) -> Keyring:
    """KeyringError: a file is absent or unreadable, the passphrase is wrong, or the content is malformed."""
    content = sealedfile.read(path, "keyring")
    passphrase = sealedfile.read_passphrase(passphrase_file)
    return _decode(sealedfile.unseal(FORMAT, content, passphrase))


def write_keyring(
    path: Path, keyring: Keyring, passphrase_file: Path, cost: sealedfile.Cost = sealedfile.DEFAULT_COST
) -> None:
    """Seal it and replace the file. The caller holds `sealedfile.locked(path)`."""
    passphrase = sealedfile.read_passphrase(passphrase_file)
    sealedfile.replace(path, sealedfile.seal(FORMAT, _encode(keyring), passphrase, cost))


def _encode(keyring: Keyring) -> SecretBytes:
    keys = [
        {"id": kek.id, "created_at": kek.created_at, "key": kek.key.get_secret_value().hex()}
        for kek in keyring.keks.values()
    ]
    return SecretBytes(json.dumps({"active": keyring.active, "keys": keys}).encode())


def _decode(plain: SecretBytes) -> Keyring:
    keyring = _parse(plain)
    if keyring is None:  # raised here, in a frame that holds no key material
        raise KeyringError("the keyring opens, but its content is malformed")
    return keyring


def _parse(plain: SecretBytes) -> Keyring | None:
    try:
        document = json.loads(plain.get_secret_value())
        listed = [
            Kek(item["id"], float(item["created_at"]), SecretBytes(bytes.fromhex(item["key"])))
            for item in document["keys"]
        ]
        keks = {kek.id: kek for kek in listed}
        sound = document["active"] in keks and len(keks) == len(listed) <= KEKS_MAX
        sound = sound and all(isinstance(kek.id, str) and len(kek.key.get_secret_value()) == KEK for kek in listed)
    except (ValueError, TypeError, KeyError):
        return None
    return Keyring(document["active"], keks) if sound else None


Stamp = tuple[tuple[int, int, int, int] | None, ...]


class FileKeyring(KeyProvider):
    """The keyring file as this process sees it.

    Opened at first use, or by `open`. The file and the passphrase's are looked at again at most once a second, and at
    once for an unknown kek id; they are opened again only if they changed, so a wrong passphrase costs one derivation,
    not one a second. A file that went away takes its keys with it: data sealed under a key that is stored nowhere would
    be lost.
    """

    def __init__(self, path: Path, passphrase_file: Path) -> None:
        self._paths = (path, passphrase_file)
        self._lock = Lock()
        self._keyring: Keyring | None = None
        self._reason = "the keyring was not opened yet"
        self._stamp: Stamp | None = None
        self._next_look = 0.0

    def open(self) -> None:
        """Look at the file now, for this process and those forked from it. Without keys, they look again themselves."""
        with self._lock:
            self._look()

    def active(self) -> str:
        return self._current().active

    def wrap(self, kek_id: str, dek: bytes, context: bytes) -> bytes:
        return self._kek(kek_id).wrap(dek, context)

    def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytes:
        return self._kek(kek_id).unwrap(wrapped, context)

    def _kek(self, kek_id: str) -> Kek:
        kek = self._current().keks.get(kek_id) or self._current(now=True).keks.get(kek_id)
        if kek is None:
            raise KeysUnavailable("the keyring has no key of the id that the data needs")
        return kek

    def _current(self, now: bool = False) -> Keyring:
        if now or monotonic() >= self._next_look:
            with self._lock:
                self._look()
        keyring, reason = self._keyring, self._reason
        if keyring is None:
            raise KeysUnavailable(reason)
        return keyring

    def _look(self) -> None:
        """Open the file if it changed since. The stamp is taken before reading: a change meanwhile shows next time.

        What passes by itself changes nothing: the keys there are stay, and the next look tries again.
        """
        try:
            stamp = tuple(_stamp(path) for path in self._paths)
            if stamp != self._stamp:
                self._keyring = read_keyring(*self._paths)
                self._stamp = stamp
        except KeyringBusy as error:
            self._reason = error.detail
        except KeyringError as error:
            self._keyring, self._reason, self._stamp = None, error.detail, stamp
        self._next_look = monotonic() + CHECK_SECONDS


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        stat = path.stat()
    except OSError as error:
        if error.errno in sealedfile.PASSING:
            raise KeyringBusy(f"the keyring cannot be looked at: {error.strerror}") from None
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
