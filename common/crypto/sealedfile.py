"""A small file sealed under a passphrase: scrypt gives the key, AES-SIV seals, every parameter is authenticated.

Replacing it: 1 take the lock file, 2 write a temporary file (0600) in the same folder, 3 fsync it, 4 rename it over the
old one (the commit point), 5 fsync the folder. A reader sees the old file or the new one, and needs no lock.

Errors are KeyringError with one sentence that names no path and no content.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import scrypt
from pathlib import Path

from pydantic import SecretBytes

from common.crypto import siv
from common.crypto.fields import fields
from common.errors import IntegrityError, KeyringBusy, KeyringError

SALT = 16
KEY = 64
FILE_MAX = 1 << 20  # what is read at most, of a keyring or a passphrase
MEMORY_MAX = 512 << 20  # what a file may make scrypt take, bytes
LOCK_SECONDS = 10.0
PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR})
"""Errors of the operating system that say nothing about the file and pass by themselves."""
_OUT_OF_BOUNDS = "the file asks for key derivation parameters out of bounds"
_MEMBERS = {"format", "kdf", "n", "r", "p", "salt", "sealed"}


@dataclass(frozen=True, slots=True)
class Cost:
    """scrypt's parameters: `n` a power of two, 128·n·r bytes of memory, p passes."""

    n: int = 1 << 17
    r: int = 8
    p: int = 1

    def check(self) -> None:
        """KeyringError unless they are in bounds: they are read from a file before it can be authenticated."""
        power = self.n >= 2 and self.n & (self.n - 1) == 0
        if not (power and self.r >= 1 and 1 <= self.p <= 4 and 128 * self.n * self.r <= MEMORY_MAX):
            raise KeyringError(_OUT_OF_BOUNDS)


DEFAULT_COST = Cost()


def seal(kind: str, plain: SecretBytes, passphrase: SecretBytes, cost: Cost = DEFAULT_COST) -> bytes:
    """The file's content. `kind` names what is in it, and its format."""
    salt = os.urandom(SALT)
    sealed = siv.seal(_key(passphrase, salt, cost), plain.get_secret_value(), _associated(kind, salt, cost))
    document = {"format": kind, "kdf": "scrypt", "n": cost.n, "r": cost.r, "p": cost.p}
    document |= {"salt": b64encode(salt).decode(), "sealed": b64encode(sealed).decode()}
    return json.dumps(document, indent=2).encode() + b"\n"


def unseal(kind: str, content: bytes, passphrase: SecretBytes) -> SecretBytes:
    """What `seal` was given. KeyringError: malformed, of another kind, out of bounds, or a wrong passphrase."""
    salt, sealed, cost = _parse(kind, content)
    cost.check()
    try:
        return SecretBytes(siv.unseal(_key(passphrase, salt, cost), sealed, _associated(kind, salt, cost)))
    except IntegrityError:
        raise KeyringError("wrong passphrase, or the file was changed") from None


def _parse(kind: str, content: bytes) -> tuple[bytes, bytes, Cost]:
    try:
        document = json.loads(content)
        if not isinstance(document, dict) or set(document) != _MEMBERS:
            raise ValueError
        if (document["format"], document["kdf"]) != (kind, "scrypt"):
            raise ValueError
        numbers = [document[name] for name in ("n", "r", "p")]
        if any(type(number) is not int for number in numbers):
            raise ValueError
        salt = b64decode(document["salt"], validate=True)
        if len(salt) != SALT:
            raise ValueError
        return salt, b64decode(document["sealed"], validate=True), Cost(*numbers)
    except (ValueError, TypeError, RecursionError):
        raise KeyringError(f"not a {kind} file") from None


def _associated(kind: str, salt: bytes, cost: Cost) -> bytes:
    return fields(kind, "scrypt", cost.n, cost.r, cost.p, salt)


def _key(passphrase: SecretBytes, salt: bytes, cost: Cost) -> SecretBytes:
    memory = 128 * cost.r * (cost.n + cost.p + 2) + (1 << 20)
    secret = passphrase.get_secret_value
    try:
        return SecretBytes(scrypt(secret(), salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=memory, dklen=KEY))
    except (ValueError, MemoryError):
        if cost.n >= 1 << 16 * cost.r:  # what scrypt itself rules out (RFC 7914, 6)
            raise KeyringError(_OUT_OF_BOUNDS) from None
        raise KeyringBusy("there is not enough memory to open the file") from None


# -- files


def read(path: Path, what: str) -> bytes:
    """The file's bytes. KeyringError, naming `what` it is, if it is absent, unreadable or too large."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX + 1)
    except FileNotFoundError:
        raise KeyringError(f"there is no {what}") from None
    except OSError as error:
        kind = KeyringBusy if error.errno in PASSING else KeyringError
        raise kind(f"the {what} cannot be read: {error.strerror}") from None
    if len(content) > FILE_MAX:
        raise KeyringError(f"the {what} is too large")
    return content


def read_passphrase(path: Path) -> SecretBytes:
    """The file's bytes without one line end behind them. KeyringError if that leaves nothing."""
    content = read(path, "passphrase file").removesuffix(b"\n").removesuffix(b"\r")
    if not content:
        raise KeyringError("the passphrase file is empty")
    return SecretBytes(content)


def replace(path: Path, content: bytes) -> None:
    """Put the content there in one step, mode 0600, durable on return."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock file beside `path`, which every writer takes. KeyringError if another one keeps it too long."""
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise KeyringError("another process is changing the keyring; try again")
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)  # gives the lock back


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
