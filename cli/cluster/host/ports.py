"""Free TCP ports on the loopback address."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

from common.errors import ConfigurationError

# Below the range from which Linux takes the local ports of outgoing connections (32768 and up), so that a port chosen
# now is not taken by some client's connection while the server that is to have it is down.
_LOW, _HIGH = 20_000, 32_767
_TRIES = 500


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now. OSError's own words for a host that is not this machine's: `listen`."""
    try:
        listen(port, host)
    except OSError:
        return False
    return True


def listen(port: int, host: str) -> None:
    """Listen for a moment; OSError says why that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host.strip("[]"), port))
        probe.listen(1)


def pick(count: int, avoid: Collection[int] = ()) -> list[int]:
    """So many free ports, none of them in `avoid`. They are free now, not reserved."""
    found: list[int] = []
    for _ in range(_TRIES):
        if len(found) == count:
            return found
        port = random.randint(_LOW, _HIGH)  # noqa: S311 - no secret
        if port not in avoid and port not in found and is_free(port):
            found.append(port)
    raise ConfigurationError(f"no {count} free ports between {_LOW} and {_HIGH} on 127.0.0.1")
