"""Memory, CPU time and open files of the API's processes, for whichever of them is scraped. Read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class Processes(Collector):
    """The scraped process and its siblings: children of one gunicorn master."""

    def collect(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily("boveda_api_resident_bytes", "Resident memory", labels=["pid"])
        files = GaugeMetricFamily("boveda_api_open_files", "Open file descriptors", labels=["pid"])
        threads = GaugeMetricFamily("boveda_api_threads", "Threads", labels=["pid"])
        cpu = CounterMetricFamily("boveda_api_cpu_seconds", "User and system time", labels=["pid"])
        for pid in siblings():
            try:
                stat = (_PROC / pid / "stat").read_text().rpartition(")")[2].split()
                opened = len(os.listdir(_PROC / pid / "fd"))
            except (OSError, ValueError):
                continue  # it has just ended, or this is no Linux
            cpu.add_metric([pid], (int(stat[11]) + int(stat[12])) / _TICK)
            threads.add_metric([pid], int(stat[17]))
            memory.add_metric([pid], int(stat[21]) * _PAGE)
            files.add_metric([pid], opened)
        yield from (memory, files, threads, cpu)


def siblings() -> list[str]:
    """This process and the others of its parent that run the same program."""
    parent = os.getppid()
    try:
        children = (_PROC / str(parent) / "task" / str(parent) / "children").read_text().split()
        program = os.readlink("/proc/self/exe")
        return [pid for pid in children if _program(pid) == program] or [str(os.getpid())]
    except OSError:
        return [str(os.getpid())]


def _program(pid: str) -> str | None:
    try:
        return os.readlink(_PROC / pid / "exe")
    except OSError:
        return None
