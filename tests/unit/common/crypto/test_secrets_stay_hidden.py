"""No key and no passphrase in what is printed, logged or raised, not even where a logger shows local variables."""

from __future__ import annotations

import traceback
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretBytes

from api.fetch.version_source import VersionSource
from api.store.sealing import Sealing
from common.crypto import keyring as ring
from common.crypto import sealedfile
from common.crypto.envelope import SUITE, BlobOpener, BlobSealer, cipher_length
from common.crypto.keyring import FileKeyring, Kek, Keyring, new_kek, read_keyring, write_keyring
from common.crypto.sealedfile import Cost
from common.errors import BovedaError

PASSPHRASE = b"a passphrase nobody may see"
DEK = bytes(range(100, 132))


@pytest.fixture
def kek() -> Kek:
    return new_kek(1)


@pytest.fixture
def paths(kek: Kek, tmp_path: Path) -> tuple[Path, Path]:
    path, passphrase = tmp_path / "keyring.json", tmp_path / "passphrase"
    passphrase.write_bytes(PASSPHRASE)
    write_keyring(path, Keyring(kek.id, {kek.id: kek}), passphrase, Cost(n=16))
    return path, passphrase


def forms(secret: bytes) -> list[str]:
    """As text could show it; a part of a key would be bad enough."""
    part = secret[:16]
    return [repr(part)[2:-1], part.hex(), b64encode(part[:15]).decode(), ", ".join(map(str, part[:4]))]


def assert_hidden(text: str, *secrets: bytes) -> None:
    for secret in secrets:
        for form in forms(secret):
            assert form not in text


def shown(error: BaseException) -> str:
    """Message and traceback, with the local variables of every frame of Bóveda's own code."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    report.stack = traceback.StackSummary.from_list(
        [frame for frame in report.stack if "/tests/" not in frame.filename]
    )
    assert report.stack
    return "".join(report.format()) + repr(error) + str(error.args)


def test_the_test_would_see_a_leak() -> None:
    def leaking(secret: bytes) -> None:
        raise BovedaError("failed")

    with pytest.raises(BovedaError) as caught:
        leaking(PASSPHRASE)
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    with pytest.raises(AssertionError):
        assert_hidden("".join(report.format()), PASSPHRASE)


def test_values_that_hold_keys_print_none(kek: Kek, paths: tuple[Path, Path]) -> None:
    provider = FileKeyring(*paths)
    provider.active()
    cipher = SUITE.derive(DEK, bytes(24), b"")
    out = memoryview(bytearray(cipher_length(0)))
    holders = [kek, read_keyring(*paths), provider, cipher, BlobOpener(DEK, "v", 0, bytes(24), 0)]
    holders.append(BlobSealer(DEK, "v", 0, out))
    holders.append(Sealing(DEK, "v", 1 << 20))
    holders.append(VersionSource(None, None, None, None, None, "v", DEK))  # type: ignore[arg-type]
    for holder in holders:
        for text in (repr(holder), str(holder), f"{holder}"):
            assert_hidden(text, kek.key.get_secret_value(), DEK, cipher._key, PASSPHRASE)


def failures(kek: Kek, paths: tuple[Path, Path]) -> dict[str, Callable[[], object]]:
    path, passphrase = paths

    def wrong_passphrase() -> object:
        passphrase.write_bytes(PASSPHRASE + b"!")
        return read_keyring(path, passphrase)

    def malformed() -> object:
        plain = SecretBytes(b'{"active": "x", "keys": [{"id": "a", "created_at": 1, "key": "%s"}]}' % PASSPHRASE)
        sealed = sealedfile.seal(ring.FORMAT, plain, SecretBytes(PASSPHRASE), Cost(n=16))
        path.write_bytes(sealed)
        return read_keyring(path, passphrase)

    def unavailable() -> object:
        passphrase.write_bytes(PASSPHRASE + b"!")
        return FileKeyring(path, passphrase).active()

    return {
        "wrong passphrase": wrong_passphrase,
        "malformed keyring": malformed,
        "no keyring": lambda: read_keyring(path.with_name("none"), passphrase),
        "keys unavailable": unavailable,
        "unknown key": lambda: FileKeyring(path, passphrase).unwrap("unknown", bytes(48), b""),
        "wrapped key changed": lambda: FileKeyring(path, passphrase).unwrap(kek.id, bytes(48), b""),
        "wrapped key cut off": lambda: kek.unwrap(b"", b""),
        "chunk changed": lambda: BlobOpener(DEK, "v", 0, bytes(24), 1).open(0, bytes(17)),
        "header changed": lambda: BlobOpener(DEK, "v", 0, bytes(24), 1).check_header(bytes(72)),
    }


FAILURES = (
    "wrong passphrase",
    "malformed keyring",
    "no keyring",
    "keys unavailable",
    "unknown key",
    "wrapped key changed",
    "wrapped key cut off",
    "chunk changed",
    "header changed",
)


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_shows_no_secret(name: str, kek: Kek, paths: tuple[Path, Path]) -> None:
    with pytest.raises(BovedaError) as caught:
        failures(kek, paths)[name]()
    text = shown(caught.value)
    assert_hidden(text, PASSPHRASE, DEK, kek.key.get_secret_value(), kek.key.get_secret_value()[32:])
    assert "\n" not in caught.value.detail


def test_the_keyring_file_holds_no_key_in_the_clear(kek: Kek, paths: tuple[Path, Path]) -> None:
    assert_hidden(paths[0].read_text(), kek.key.get_secret_value(), PASSPHRASE)
    assert kek.id not in paths[0].read_text()
