from __future__ import annotations

import json
import os
import stat
import threading
from base64 import b64decode
from pathlib import Path

import pytest
from pydantic import SecretBytes

from common.crypto import sealedfile
from common.crypto.sealedfile import Cost
from common.errors import KeyringError

CHEAP = Cost(n=1 << 4)
SECRET = SecretBytes(b"what is kept")
PASSPHRASE = SecretBytes(b"correct horse")


def test_what_was_sealed_opens_with_the_passphrase_only() -> None:
    content = sealedfile.seal("kind", SECRET, PASSPHRASE, CHEAP)
    assert sealedfile.unseal("kind", content, PASSPHRASE) == SECRET
    with pytest.raises(KeyringError, match=r"^wrong passphrase, or the file was changed$"):
        sealedfile.unseal("kind", content, SecretBytes(b"correct hors"))
    with pytest.raises(KeyringError, match="not a another kind file"):
        sealedfile.unseal("another kind", content, PASSPHRASE)


def test_the_production_cost_is_what_the_format_says() -> None:
    document = json.loads(sealedfile.seal("kind", SECRET, PASSPHRASE))
    assert (document["kdf"], document["n"], document["r"], document["p"]) == ("scrypt", 131072, 8, 1)
    assert len(b64decode(document["salt"])) == 16


def test_every_sealing_has_its_own_salt() -> None:
    first, second = (json.loads(sealedfile.seal("kind", SECRET, PASSPHRASE, CHEAP)) for _ in range(2))
    assert first["salt"] != second["salt"]
    assert first["sealed"] != second["sealed"]


@pytest.mark.parametrize(
    "cost", [Cost(1 << 20), Cost(1 << 40), Cost(2, 1 << 40), Cost(16, 8, 5), Cost(16, 8, 1 << 30), Cost(0), Cost(3)]
)
def test_costs_out_of_bounds_are_refused_before_anything_is_derived(
    cost: Cost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def derive(*_: object, **__: object) -> bytes:
        raise AssertionError("asked to derive a key at a cost that is out of bounds")

    document = json.loads(sealedfile.seal("kind", SECRET, PASSPHRASE, CHEAP))
    document |= {"n": cost.n, "r": cost.r, "p": cost.p}
    monkeypatch.setattr(sealedfile, "scrypt", derive)
    with pytest.raises(KeyringError, match="out of bounds"):
        sealedfile.unseal("kind", json.dumps(document).encode(), PASSPHRASE)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_such_a_file_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(KeyringError, match=r"^not a kind file$"):
        sealedfile.unseal("kind", content, PASSPHRASE)


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [(b"abc", b"abc"), (b"abc\n", b"abc"), (b"abc\r\n", b"abc"), (b"abc\n\n", b"abc\n"), (b" a b ", b" a b ")],
)
def test_a_passphrase_loses_one_line_end_and_nothing_else(content: bytes, passphrase: bytes, tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    assert sealedfile.read_passphrase(path).get_secret_value() == passphrase


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_an_empty_passphrase_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    with pytest.raises(KeyringError, match="empty"):
        sealedfile.read_passphrase(path)


def test_a_file_that_is_absent_a_folder_or_too_large_is_refused_without_its_path(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(sealedfile.FILE_MAX + 1))
    for path, reason in ((tmp_path / "none", "there is no"), (tmp_path, "cannot be read"), (large, "too large")):
        with pytest.raises(KeyringError, match=reason) as caught:
            sealedfile.read(path, "keyring")
        assert str(tmp_path) not in str(caught.value)


def test_a_replaced_file_is_private_whatever_the_umask_and_the_old_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o666)
    before = os.umask(0)
    try:
        sealedfile.replace(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        sealedfile.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_second_writer_waits_for_the_first_and_gives_up_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    inside, leave, done = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with sealedfile.locked(path):
            inside.set()
            leave.wait(10)
        done.set()

    holder = threading.Thread(target=first)
    holder.start()
    assert inside.wait(10)
    with pytest.raises(KeyringError, match="another process"), sealedfile.locked(path, seconds=0):
        pytest.fail("two writers at once")
    leave.set()
    with sealedfile.locked(path):
        assert done.wait(10)
    holder.join()
