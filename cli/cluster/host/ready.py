"""Whether a server answers now. Each look is short: the supervisor takes them in its one loop."""

from __future__ import annotations

import http.client
import json
import socket
from urllib.parse import urlsplit

_SECONDS = 0.5


def answers(endpoint: str, path: str, hostname: str | None = None) -> bool:
    """Whether a GET there is answered with 200; without a path, whether a connection is taken."""
    if not path:
        return _connects(endpoint)
    return _get(endpoint, path, hostname)[0] == 200


def why_not(url: str, hostname: str) -> str:
    """What /readyz says is missing, in its own words; empty if nothing."""
    status, body = _get(url, "/readyz", hostname)
    if status == 200:
        return ""
    if not status:
        return "the API does not answer"
    try:
        document = json.loads(body)
    except ValueError:
        return f"/readyz answers {status}"
    detail = document.get("detail") or document.get("missing") or body.decode(errors="replace")
    return str(detail if isinstance(detail, str) else json.dumps(detail, ensure_ascii=False))


def _get(endpoint: str, path: str, hostname: str | None) -> tuple[int, bytes]:
    parts = urlsplit(endpoint)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SECONDS)
    try:
        # The API answers only Host names that it was told are its own.
        connection.request("GET", path, headers={"Host": f"{hostname}:{parts.port}"} if hostname else {})
        answer = connection.getresponse()
        return answer.status, answer.read(65536)
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _connects(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_SECONDS):
            return True
    except OSError:
        return False
