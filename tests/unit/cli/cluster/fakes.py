"""Processes that do what a test wants, in place of servers: small programs in the shell."""

from __future__ import annotations

import sys
from pathlib import Path

from cli.cluster.home.plan import Kind, Spec
from cli.cluster.home.servers import Launch

SLEEPS = "exec sleep 600"
DIES = "exit 3"
DEAF = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
"""Does not end when asked to, once it has said so."""


def spec(folder: Path, name: str, program: str, kind: Kind = "worker", grace: float = 1.0) -> Spec:
    launch = Launch(("/bin/sh", "-c", program), {"PATH": "/usr/bin:/bin"}, endpoint="", grace=grace)
    return Spec(name, kind, launch, folder / name, folder / f"{name}.log")


def serving(folder: Path, name: str, port: int, kind: Kind = "api") -> Spec:
    """A process that answers every path that is a file of its folder, where `readyz` and `healthz` are."""
    program = (
        "import http.server, functools; H = http.server.SimpleHTTPRequestHandler;"
        f"http.server.ThreadingHTTPServer(('127.0.0.1', {port}), "
        f"functools.partial(H, directory={str(folder)!r})).serve_forever()"
    )
    endpoint = f"http://127.0.0.1:{port}"
    launch = Launch((sys.executable, "-c", program), {}, endpoint=endpoint, ready="/healthz", grace=1.0)
    return Spec(name, kind, launch, folder / name, folder / f"{name}.log")
