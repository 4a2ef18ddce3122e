"""Whether the worker of this container lives, as its health check: it used its connection to the queue a moment ago.

A worker that waits for messages asks again every second and says every two that it is there; one that hangs does
neither. `celery inspect ping` would tell the same for seconds of processor time, in every container, at every check.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

IDLE_SECONDS = 20
ANSWER_SECONDS = 4.0


def queue_url() -> str:
    """As the settings have it; loading those costs more than the rest of this."""
    folder = os.environ.get("BOVEDA_SECRETS_DIR", "")
    return os.environ.get("BOVEDA_REDIS_URL") or (Path(folder) / "boveda_redis_url").read_text().strip()


def clients(url: str) -> tuple[str, str]:
    """This container's address on the queue's network, and the queue's list of its clients."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 6379
    with socket.create_connection((host, port), timeout=ANSWER_SECONDS) as plain:
        address = str(plain.getsockname()[0])
        line = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=host) if parts.scheme == "rediss" else plain
        )
        if parts.password:
            command(line, b"AUTH", unquote(parts.username or "default").encode(), unquote(parts.password).encode())
        return address, command(line, b"CLIENT", b"LIST").decode()


def command(line: socket.socket, *words: bytes) -> bytes:
    """One command; its answer (a status, or a string with its length in front)."""
    line.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
    with line.makefile("rb") as answer:
        head = answer.readline()
        if not head.startswith((b"+", b"$")):
            raise OSError("the queue refuses")
        return answer.read(int(head[1:])) if head.startswith(b"$") else head


def in_use(address: str, listing: str) -> bool:
    """Whether a client at the address sent something lately. Neither the asking connection counts nor subscriptions,
    whose clock also runs back when they are only written to."""
    for client in listing.splitlines():
        fields = dict(re.findall(r"(\S+?)=(\S*)", client))
        ours = fields.get("addr", "").rpartition(":")[0] == address and not fields.get("cmd", "").startswith("client")
        asks = ours and fields.get("sub") == fields.get("psub") == "0"
        if asks and int(fields["idle"]) <= IDLE_SECONDS:
            return True
    return False


if __name__ == "__main__":
    try:
        sys.exit(0 if in_use(*clients(queue_url())) else "the worker has not used the queue lately")
    except OSError as error:
        sys.exit(f"the queue: {error}")
