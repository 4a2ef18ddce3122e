from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretBytes

from common.crypto import keyring as ring
from common.crypto import sealedfile
from common.crypto.envelope import dek_context, upload_context
from common.crypto.keyring import FileKeyring, Kek, Keyring, new_kek, read_keyring, write_keyring
from common.crypto.sealedfile import Cost
from common.crypto.siv import Siv
from common.errors import IntegrityError, KeyringError, KeysUnavailable

CHEAP = Cost(n=1 << 4)
DEK = bytes(range(32))
CONTEXT = dek_context("bucket", "key", "version", 10, 1)


class Folder:
    """A keyring and its passphrase on disk, and what happens to them."""

    def __init__(self, path: Path) -> None:
        self.keyring = path / "keyring.json"
        self.passphrase = path / "passphrase"
        self.write_passphrase("a passphrase")

    def write_passphrase(self, text: str) -> None:
        self.passphrase.write_text(text + "\n")

    def write(self, *keks: Kek) -> None:
        """The last one is active."""
        write_keyring(self.keyring, Keyring(keks[-1].id, {kek.id: kek for kek in keks}), self.passphrase, CHEAP)

    def provider(self) -> FileKeyring:
        return FileKeyring(self.keyring, self.passphrase)


class Clock:
    """Stands for the monotonic clock of the keyring module."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ring, "monotonic", clock)
    return clock


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """How often the file was really opened."""
    paths: list[Path] = []

    def counting(path: Path, passphrase_file: Path) -> Keyring:
        paths.append(path)
        return read_keyring(path, passphrase_file)

    monkeypatch.setattr(ring, "read_keyring", counting)
    return paths


def test_a_written_keyring_is_read_back(folder: Folder) -> None:
    old, new = new_kek(1.5), new_kek(2.5)
    folder.write(old, new)
    keyring = read_keyring(folder.keyring, folder.passphrase)
    assert keyring == Keyring(new.id, {old.id: old, new.id: new})
    assert list(keyring.keks) == [old.id, new.id]


def test_a_data_key_comes_back_under_its_own_key_and_context_only(folder: Folder) -> None:
    one, two = new_kek(1), new_kek(2)
    folder.write(one, two)
    keys = folder.provider()
    assert keys.active() == two.id
    wrapped = keys.wrap(one.id, DEK, CONTEXT)

    assert len(wrapped) == 48
    assert DEK not in wrapped
    assert keys.unwrap(one.id, wrapped, CONTEXT) == DEK
    for kek_id, context in ((two.id, CONTEXT), (one.id, upload_context("version")), (one.id, b"")):
        with pytest.raises(IntegrityError):
            keys.unwrap(kek_id, wrapped, context)


def test_the_same_key_material_under_another_id_unwraps_nothing() -> None:
    kek = new_kek(1)
    with pytest.raises(IntegrityError):
        Kek("another", 1, kek.key).unwrap(kek.wrap(DEK, CONTEXT), CONTEXT)


def uses(keys: FileKeyring) -> list[Callable[[], object]]:
    return [keys.active, lambda: keys.wrap("id", DEK, CONTEXT), lambda: keys.unwrap("id", bytes(48), CONTEXT)]


@pytest.mark.parametrize("what", ["no keyring", "no passphrase", "wrong passphrase", "no keyring file"])
def test_without_a_usable_file_every_use_says_so_until_there_is_one(what: str, folder: Folder, clock: Clock) -> None:
    kek = new_kek(1)
    folder.write(kek)
    good = folder.keyring.read_bytes()
    match what:
        case "no keyring":
            folder.keyring.unlink()
        case "no passphrase":
            folder.passphrase.unlink()
        case "wrong passphrase":
            folder.write_passphrase("another one")
        case "no keyring file":
            folder.keyring.write_text("{}")
    keys = folder.provider()
    for use in uses(keys):
        with pytest.raises(KeysUnavailable) as caught:
            use()
        assert str(folder.keyring.parent) not in caught.value.detail

    folder.keyring.write_bytes(good)
    folder.write_passphrase("a passphrase")
    clock.now += 1
    assert keys.active() == kek.id
    assert keys.unwrap(kek.id, kek.wrap(DEK, CONTEXT), CONTEXT) == DEK


def test_a_keyring_that_goes_away_takes_its_keys_with_it(folder: Folder, clock: Clock) -> None:
    folder.write(new_kek(1))
    keys = folder.provider()
    keys.active()
    folder.keyring.unlink()
    clock.now += 1
    with pytest.raises(KeysUnavailable, match="there is no keyring"):
        keys.active()


def test_a_change_is_seen_within_a_second_and_the_file_opened_only_then(
    folder: Folder, clock: Clock, opened: list[Path]
) -> None:
    first, second = new_kek(1), new_kek(2)
    folder.write(first)
    keys = folder.provider()
    for _ in range(5):
        assert keys.active() == first.id
        clock.now += 1
    assert len(opened) == 1

    assert keys.active() == first.id
    folder.write(first, second)
    clock.now += 0.9
    assert keys.active() == first.id
    clock.now += 0.2
    assert keys.active() == second.id
    assert len(opened) == 2


def test_an_unknown_key_id_is_looked_for_at_once(folder: Folder, clock: Clock) -> None:
    first, second = new_kek(1), new_kek(2)
    folder.write(first)
    keys = folder.provider()
    assert keys.active() == first.id
    folder.write(first, second)
    assert keys.unwrap(second.id, second.wrap(DEK, CONTEXT), CONTEXT) == DEK
    with pytest.raises(KeysUnavailable, match="no key of the id"):
        keys.wrap("unknown", DEK, CONTEXT)


def test_a_keyring_that_was_opened_early_is_not_opened_again_at_the_first_use(
    folder: Folder, clock: Clock, opened: list[Path]
) -> None:
    keys = folder.provider()
    keys.open()  # there is none yet
    kek = new_kek(1)
    folder.write(kek)
    clock.now += 1
    keys.open()
    clock.now += 10
    assert keys.active() == kek.id
    assert len(opened) == 2


def test_a_wrong_passphrase_costs_one_derivation_and_not_one_a_second(
    folder: Folder, clock: Clock, opened: list[Path]
) -> None:
    folder.write(new_kek(1))
    folder.write_passphrase("wrong")
    keys = folder.provider()
    for _ in range(5):
        for use in uses(keys):
            with pytest.raises(KeysUnavailable, match="wrong passphrase"):
                use()
        clock.now += 1
    assert len(opened) == 1


def test_threads_that_start_together_open_the_file_once_and_agree(folder: Folder, opened: list[Path]) -> None:
    kek = new_kek(1)
    folder.write(kek)
    keys = folder.provider()
    together = threading.Barrier(8)
    results: list[bytes] = []

    def work() -> None:
        together.wait()
        results.extend(keys.unwrap(kek.id, keys.wrap(keys.active(), DEK, CONTEXT), CONTEXT) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [DEK] * 160
    assert len(opened) == 1


def test_readers_never_see_half_a_keyring_while_it_is_replaced(folder: Folder) -> None:
    keks = [new_kek(i) for i in range(4)]
    folder.write(keks[0])
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            for kek in keks:
                folder.write(keks[0], kek)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(200):
            assert keks[0].id in read_keyring(folder.keyring, folder.passphrase).keks
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"[]",
        b"{}",
        b'{"active": "a", "keys": []}',
        b'{"active": "a", "keys": [{"id": "a", "created_at": 1, "key": "00"}]}',
        b'{"active": "b", "keys": [{"id": "a", "created_at": 1, "key": "%s"}]}' % (b"00" * 64),
        b'{"active": "a", "keys": [{"id": "a", "created_at": 1, "key": "%s"}]}' % (b"0g" * 64),
        b'{"active": 1, "keys": [{"id": 1, "created_at": 1, "key": "%s"}]}' % (b"00" * 64),
        b'{"active": [], "keys": [{"id": "a", "created_at": 1, "key": "%s"}]}' % (b"00" * 64),
    ],
)
def test_a_keyring_with_malformed_content_is_refused(plain: bytes, folder: Folder) -> None:
    passphrase = sealedfile.read_passphrase(folder.passphrase)
    folder.keyring.write_bytes(sealedfile.seal(ring.FORMAT, SecretBytes(plain), passphrase, CHEAP))
    with pytest.raises(KeyringError, match="malformed"):
        read_keyring(folder.keyring, folder.passphrase)


def test_a_keyring_has_a_bounded_number_of_keys(folder: Folder) -> None:
    keks = [Kek(str(i), 0, new_kek(0).key) for i in range(ring.KEKS_MAX + 1)]
    folder.write(*keks[:-1])
    assert len(read_keyring(folder.keyring, folder.passphrase).keks) == ring.KEKS_MAX
    folder.write(*keks)
    with pytest.raises(KeyringError, match="malformed"):
        read_keyring(folder.keyring, folder.passphrase)


def test_new_keys_are_never_alike() -> None:
    keks = [new_kek(0) for _ in range(50)]
    assert len({kek.key.get_secret_value() for kek in keks}) == 50
    assert len({kek.id for kek in keks}) == 50
    assert {len(kek.key.get_secret_value()) for kek in keks} == {64}


def test_the_self_test_notices_a_key_that_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    kek = new_kek(1)
    keyring = Keyring(kek.id, {kek.id: kek})
    ring.check(keyring)
    monkeypatch.setattr(Siv, "unseal", lambda *_: os.urandom(32))
    with pytest.raises(KeyringError, match=kek.id):
        ring.check(keyring)


def test_the_self_test_notices_a_key_that_accepts_any_context(monkeypatch: pytest.MonkeyPatch) -> None:
    kek = new_kek(1)
    monkeypatch.setattr(ring, "fields", lambda *_: b"")
    with pytest.raises(KeyringError, match="self-test"):
        ring.check(Keyring(kek.id, {kek.id: kek}))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ENOMEM])
@pytest.mark.parametrize("where", ["open", "stat"])
def test_an_error_that_passes_costs_no_keys_and_is_over_with_the_next_look(
    folder: Folder, clock: Clock, monkeypatch: pytest.MonkeyPatch, number: int, where: str
) -> None:
    old, new = new_kek(1), new_kek(2)
    folder.write(old)
    keys = folder.provider()
    assert keys.active() == old.id
    folder.write(old, new)

    def fails(self: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as passing:
        passing.setattr(Path, where, fails)
        clock.now += 1
        assert keys.active() == old.id, "what it had is as good as before"
    clock.now += 1
    assert keys.active() == new.id


def test_a_process_that_could_not_open_the_file_at_first_opens_it_a_second_later(
    folder: Folder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    kek = new_kek(1)
    folder.write(kek)
    keys = folder.provider()

    def no_memory(*_: object, **__: object) -> bytes:
        raise ValueError("[digital envelope routines] malloc failure")

    with monkeypatch.context() as passing:
        passing.setattr(sealedfile, "scrypt", no_memory)
        with pytest.raises(KeysUnavailable, match="not enough memory"):
            keys.active()
    clock.now += 1
    assert keys.active() == kek.id
