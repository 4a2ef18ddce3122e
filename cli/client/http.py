"""The one HTTP client of the command line: where the API is, who asks, and what an answer means.

Every request is sent once: nothing is repeated or redirected behind the user's back, and whoever wants to try again
does so on exit status 4 (but what is large goes on by itself: `cli/transfer/download.py`, `cli/transfer/resumable.py`).
Bodies stream in both directions and are never decoded: what was stored comes back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationValueError, NewConnectionError, ReadTimeoutError
from urllib3.response import BaseHTTPResponse

from cli.cluster.home import state
from cli.cluster.home.home import Home
from common.errors import BovedaError, ConfigurationError, Unavailable

CHUNK = 1 << 20
CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 60.0  # above every deadline of the API: silence for longer means that it hangs
PROBLEM_BYTES_MAX = 64 * 1024


class Refused(BovedaError):
    """The API answered with a problem; `problem` is its document (RFC 9457)."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.problem = problem
        self.status = int(problem.get("status") or 0)
        super().__init__(str(problem.get("detail") or problem.get("title") or f"status {self.status}"))


class Unreachable(Unavailable):
    """Nobody answered, or not in time, or the connection broke."""


class AnswerCut(Unavailable):
    """The connection broke within the body of an answer."""


class Foreign(BovedaError):
    """What answered does not speak Bóveda's API."""


class Client:
    """Requests to one API. Refused, Unreachable, Cut, Foreign are all it raises."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"User-Agent": "boveda-cli"}
        if token:
            if not (token.isascii() and token.isprintable()):
                raise ConfigurationError("BOVEDA_TOKEN must be printable ASCII")
            self._headers["Authorization"] = f"Bearer {token}"
        try:
            parsed = urllib3.util.parse_url(self.url)
            if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.auth:
                raise LocationValueError(self.url)
            self._prefix = (parsed.path or "").rstrip("/")
            self._pool = urllib3.connection_from_url(
                self.url,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=ANSWER_TIMEOUT),
                retries=False,
                blocksize=CHUNK,
            )
        except LocationValueError:
            raise ConfigurationError("BOVEDA_URL must be http(s)://host[:port][/path]") from None

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> BaseHTTPResponse:
        """The answer, its body still unread. A body without Content-Length in `headers` goes out chunked."""
        target = self._prefix + path + ("?" + urlencode(query) if query else "")
        try:
            # The pool's urlopen takes a path as it stands; the pool manager would resolve `..` in keys.
            answer = self._pool.urlopen(
                method,
                target,
                body=body,  # type: ignore[arg-type]  # a reader: urllib3 wants `read` only, its type says more
                headers=_on_the_wire({**self._headers, **(headers or {})}),
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except HTTPError as error:
            raise self._unreachable(method, error) from error
        if answer.status >= 300:
            raise self._refusal(answer)
        return answer

    def json(self, method: str, path: str, **request: Any) -> Any:
        """`send`, then `parsed`."""
        return self.parsed(self.send(method, path, **request))

    def send_document(self, method: str, path: str, value: object) -> Any:
        """Send a JSON document; the document of the answer."""
        return self.json(method, path, headers={"Content-Type": "application/json"}, body=json.dumps(value))

    def parsed(self, answer: BaseHTTPResponse) -> Any:
        """The JSON document of an answer; None if it has no body."""
        content = b"".join(self.chunks(answer))
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError:
            raise Foreign(f"what answers at {self.url} is not a Bóveda API (no JSON in its answer)") from None

    def chunks(self, answer: BaseHTTPResponse) -> Iterable[bytes]:
        """The body, piece by piece as stored and as it comes; Cut if it ends before its announced end."""
        try:
            while piece := answer.read1(CHUNK, decode_content=False):
                yield piece
        except HTTPError as error:
            raise AnswerCut("the connection broke before the end of the answer; try again") from error
        finally:
            answer.release_conn()

    def _unreachable(self, method: str, error: HTTPError) -> BovedaError:
        if isinstance(error, NewConnectionError | ConnectTimeoutError):
            return Unreachable(
                f"no API answers at {self.url}; start it with `make up`, or set BOVEDA_URL to where it runs"
            )
        # What a PATCH did, its upload's offset tells.
        done = "" if method in ("GET", "HEAD", "PATCH") else "; it may have been done: look before you repeat it"
        if isinstance(error, ReadTimeoutError):
            return Unreachable(f"the API at {self.url} gave no answer within {ANSWER_TIMEOUT:.0f} s{done}")
        return Unreachable(f"the connection to {self.url} broke before an answer came{done}")

    def _refusal(self, answer: BaseHTTPResponse) -> BovedaError:
        try:
            content = answer.read(PROBLEM_BYTES_MAX, decode_content=False)
        except HTTPError:
            content = b""
        finally:
            answer.close()
        if answer.headers.get("Content-Type", "").split(";")[0].strip() == "application/problem+json":
            try:
                problem = json.loads(content)
            except ValueError:
                problem = None
            if isinstance(problem, dict):
                return Refused({**problem, "status": answer.status})
        if answer.status in (423, 502, 503, 504):  # 423: where an upload stands cannot be told now
            return Unreachable(f"the API behind {self.url} is away (status {answer.status}); try again")
        # A HEAD has no body to tell the kind of error by.
        if content or answer.status < 400:
            return Foreign(
                f"what answers at {self.url} is not a Bóveda API (status {answer.status}, no problem document)"
            )
        return Refused({"type": "about:blank", "title": answer.reason or "refused", "status": answer.status})


def connect() -> Client:
    """A client for BOVEDA_URL, else for the embedded cluster, with BOVEDA_TOKEN; ConfigurationError."""
    url = os.environ.get("BOVEDA_URL", "").strip() or _embedded()
    return Client(url, os.environ.get("BOVEDA_TOKEN", "").strip() or None)


def _embedded() -> str:
    """Where the cluster of this home runs or ran last, unless the environment says where it is to run."""
    if not (os.environ.get("BOVEDA_HOST") or os.environ.get("BOVEDA_PORT")):
        known = state.read(Home.of(Path(os.environ.get("BOVEDA_HOME") or ".boveda")))
        if known is not None:
            return known.url
    # Reading all settings takes longer than the request; most calls need not wait for it.
    from common import settings

    return settings.load().api_url


def _on_the_wire(headers: Mapping[str, str]) -> dict[str, str]:
    """As UTF-8, which the API reads: `http.client` writes the characters of Latin-1 as bytes."""
    return {name: value.encode().decode("latin-1") for name, value in headers.items()}
