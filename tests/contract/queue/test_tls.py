"""A queue over TLS: its certificate is checked by whoever publishes, as by whoever asks."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from cli.cluster.home.servers import Launch
from cli.cluster.host import ports
from common.errors import QueueUnavailable
from common.queue.base import TaskName
from common.queue.celery import CeleryQueue, checked
from tests.support.servers import Server, tool


class TlsQueue(Server):
    """Redis that takes TLS only, under a certificate of 127.0.0.1 that is signed by itself."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = ports.pick(1)
        self.certificate = folder / "queue.pem"
        argv = (
            *(tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-keyout", f"{self.certificate}.key", "-out", str(self.certificate)),
        )
        subprocess.run(argv, check=True, capture_output=True)
        options = (
            *("--bind", "127.0.0.1", "--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(self.certificate), "--tls-key-file", f"{self.certificate}.key", "--save", ""),
        )
        launch = Launch((tool("redis-server"), *options), {"LANG": "C"}, f"127.0.0.1:{self.port}")
        super().__init__(launch, folder)

    def ready(self) -> bool:
        try:
            ssl.get_server_certificate(("127.0.0.1", self.port), timeout=1)
        except OSError:
            return False
        return True

    def url(self, **query: str) -> str:
        words = "&".join(f"{name}={quote(value)}" for name, value in query.items())
        return f"rediss://127.0.0.1:{self.port}/0" + (f"?{words}" if words else "")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TlsQueue]:
    """One for each test: kombu keeps connections by host and port, whatever was said about certificates."""
    server = TlsQueue(tmp_path)
    server.start()
    yield server
    server.stop()


def test_a_certificate_that_nobody_vouches_for_gets_no_message_and_no_question(server: TlsQueue) -> None:
    queue = CeleryQueue(server.url())
    with pytest.raises(QueueUnavailable):
        queue.publish(TaskName.REPLICATE, ["a"])
    with pytest.raises(QueueUnavailable):
        queue.depths()
    queue.close()


@pytest.mark.parametrize("word", ["required", "CERT_REQUIRED", ""], ids=["redis-py's", "celery's", "none"])
def test_with_its_authority_named_it_is_used_whatever_the_word_for_checking(server: TlsQueue, word: str) -> None:
    query = {"ssl_ca_certs": str(server.certificate)} | ({"ssl_cert_reqs": word} if word else {})
    queue = CeleryQueue(server.url(**query))
    queue.publish(TaskName.REPLICATE, ["a"])
    assert queue.depths()["replicate"] >= 1
    queue.close()


def test_who_wants_no_check_has_to_say_so(server: TlsQueue) -> None:
    queue = CeleryQueue(server.url(ssl_cert_reqs="CERT_NONE"))
    queue.publish(TaskName.REPLICATE, ["a"])
    assert queue.depths()["replicate"] >= 1
    queue.close()


def test_an_address_without_tls_stays_as_it_is() -> None:
    assert checked("redis://:w%2Fx@127.0.0.1:6379/0?a=b") == "redis://:w%2Fx@127.0.0.1:6379/0?a=b"
