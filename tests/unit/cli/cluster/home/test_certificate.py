"""The certificate of a server's parts, judged by OpenSSL: good for both ends of a connection, and for nobody else's."""

from __future__ import annotations

import ssl
from itertools import cycle
from pathlib import Path

import pytest

from cli.cluster.home.certificate import key_and_certificate

HOST = "127.0.0.1"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return _written(tmp_path / "own.pem")


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    return _written(tmp_path / "strangers.pem")


def test_who_has_the_file_is_believed_at_both_ends(own: Path) -> None:
    _shake(own, own, HOST)


def test_another_certificate_of_the_same_make_is_refused_by_servers_and_by_clients(own: Path, strangers: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake(own, strangers, HOST, trusted=own)
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake(strangers, own, HOST)


def test_it_is_for_its_own_address_only(own: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake(own, own, "127.0.0.2")


def _written(path: Path) -> Path:
    path.write_text(key_and_certificate(HOST))
    return path


def _shake(server: Path, client: Path, host: str, trusted: Path | None = None) -> None:
    """A handshake in memory in which both ask for a certificate; `trusted`: by the client, if not its own."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asked = _context(ssl.PROTOCOL_TLS_SERVER, server, server).wrap_bio(to_server, to_client, server_side=True)
    asking = _context(ssl.PROTOCOL_TLS_CLIENT, client, trusted or client)
    waiting = {asking.wrap_bio(to_client, to_server, server_hostname=host), asked}
    for end in cycle(tuple(waiting)):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        waiting.discard(end)
        if not waiting:
            return


def _context(protocol: int, shown: Path, trusted: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(trusted)
    context.load_cert_chain(shown)
    return context
