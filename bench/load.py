"""What puts load on a server, and how its report is read: ab, wrk and curl, each a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

_UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Load:
    """One run: requests, requests/s, milliseconds at the median and the 99th percentile, answers that were not 2xx."""

    requests: int
    rate: float
    p50: float
    p99: float
    bad: int


def ab(requests: int, clients: int, *arguments: str) -> Load:
    """ApacheBench, as the prototype's users ran it."""
    command = ["ab", "-q", "-n", str(requests), "-c", str(clients), *arguments]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {name: re.search(rf"^\s*{name}[:%]?\s+([\d.]+)", text, re.MULTILINE) for name in ("50", "99")}
    failed = re.search(r"^Failed requests:\s+(\d+)", text, re.MULTILINE)
    other = re.search(r"^Non-2xx responses:\s+(\d+)", text, re.MULTILINE)
    rate = re.search(r"^Requests per second:\s+([\d.]+)", text, re.MULTILINE)
    if not rate or not failed:
        raise click.ClickException(f"ab printed no report:\n{text}")
    bad = int(failed[1]) + (int(other[1]) if other else 0)
    p50, p99 = (float(match[1]) if match else float("nan") for match in (found["50"], found["99"]))
    return Load(requests, float(rate[1]), p50, p99, bad)


def wrk(
    endpoint: str,
    method: str,
    paths: Path,
    clients: int,
    seconds: float,
    body: Path | None = None,
    *,
    form: str | None = None,
    span: tuple[int, int] | None = None,
) -> Load:
    """One thread of wrk over a file of paths, one a line, in order; so many connections.

    `form`: post bodies there as a form's file, named by the lines. `span`: ranges of so many bytes out of so many.
    """
    environment = {**os.environ, "METHOD": method, "PATHS": str(paths)} | ({"BODY": str(body)} if body else {})
    if form and body:
        environment["FORM"] = form
    if span:
        environment["SPAN"] = f"{span[0]}/{span[1]}"
    script = str(Path(__file__).with_name("paths.lua"))
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--timeout", "30s", "--latency", "-s", script, endpoint]
    text = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    requests = re.search(r"^\s*(\d+) requests in", text, re.MULTILINE)
    if not rate or not requests:
        raise click.ClickException(f"wrk printed no report:\n{text}")
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad = (int(other[1]) if other else 0) + (sum(map(int, broken.groups())) if broken else 0)
    p50, p99 = (_milliseconds(text, percent) for percent in ("50", "99"))
    return Load(int(requests[1]), float(rate[1]), p50, p99, bad)


def _milliseconds(text: str, percent: str) -> float:
    match = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    return float(match[1]) * _UNIT_MS[match[2]] if match else float("nan")


def curl(
    endpoint: str, paths: Sequence[str], body: Path | None = None, clients: int = 1, *, form: str | None = None
) -> Load:
    """One transfer after the other of each path (a PUT of `body`, or a GET thrown away), by so many clients.

    `form`: post the bodies there as a form's file, named by the paths.
    """
    if form and body:
        requests = [(endpoint + form, ["-F", f"archivo=@{body};filename={path}"]) for path in paths]
    else:
        requests = [(endpoint + path, ["-T", str(body)] if body else []) for path in paths]
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        ends = list(pool.map(lambda request: _transfer(*request), requests))
    elapsed = time.perf_counter() - start
    times = sorted(seconds * 1000 for seconds, _ in ends)
    bad = sum(1 for _, status in ends if not 200 <= status < 300)
    return Load(len(ends), len(ends) / elapsed, times[len(times) // 2], times[-1], bad)


def _transfer(url: str, upload: Sequence[str]) -> tuple[float, int]:
    """Seconds and status."""
    # The address is signed: it is handed over on standard input, where no other process sees it.
    command = ["curl", "-sS", "-o", os.devnull, "-w", "%{time_total} %{http_code}", "-H", "Expect:", *upload, "-K", "-"]
    done = subprocess.run(command, capture_output=True, text=True, input=f'url = "{url}"\n', check=False)
    seconds, _, status = done.stdout.partition(" ")
    return float(seconds or "nan"), int(status or 0)
