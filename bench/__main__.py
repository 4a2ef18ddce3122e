"""`make bench`: every part after the other, each in a process and on a cluster of its own, and the report.

    python -m bench                         about an hour; into docs/results/
    python -m bench --quick                 that everything works, in a few minutes; figures of no worth
    python -m bench --again                 the tables and plots once more, from results.json

A part that fails does not keep the others from running; the report says so, and the exit status is 1. What was measured
is written after each part: a run that is broken off keeps the parts that ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bench import report
from bench.machine import described

FOLDER = Path("docs/results")
# Arguments of a run that counts, and of a quick one.
PARTS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "compare": (["--rounds", "3", "--minutes", "16", "--json"], ["--rounds", "1", "--seconds", "1", "--json"]),
    "prototype": (["--rounds", "3", "--json"], ["--rounds", "1", "--json"]),
    "flipped": (["--objects", "9", "--json"], ["--objects", "1", "--json"]),
    "catalogue": (["--rounds", "5", "--json"], ["--rounds", "1", "--rows", "20000", "--seconds", "1", "--json"]),
    "curve": (["--rounds", "3", "--json"], ["--rounds", "1", "--seconds", "1", "--json"]),
    "healing lag": ([], ["--uploads", "100", "--rounds", "1"]),
    "healing returning": ([], ["--objects", "100"]),
    "healing wiped": ([], ["--small", "100", "--large", "2"]),
    "scrubbing": ([], ["--objects", "20", "--seconds", "2", "--rounds", "1"]),
    "compare --huge": (["--only", "1G", "--rounds", "2", "--json"], ["--only", "1G", "--rounds", "1", "--json"]),
    "large": (["--json"], ["--gib", "0.1", "--json"]),
}


@click.command()
@click.option("--quick", is_flag=True, help="as little as possible of everything")
@click.option("--out", type=click.Path(path_type=Path), default=FOLDER, show_default=True, help="folder of the results")
@click.option("--again", is_flag=True, help="measure nothing: tables and plots from the results that are there")
@click.option("--only", default="", help="only parts whose name contains this")
def main(quick: bool, out: Path, again: bool, only: str) -> None:
    """Measure everything, and write tables, plots and JSON."""
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.json"
    if not any(only in name for name in PARTS):
        raise click.UsageError(f"no part is called so; there is: {', '.join(PARTS)}")
    if again:
        found = json.loads(results.read_text())
        write(found, out)
    else:
        for found in measured(quick, only):
            results.write_text(json.dumps(found, indent=1) + "\n")
            write(found, out)
    click.echo(f"see {out / 'README.md'}", err=True)
    if found["failed"]:
        sys.exit(1)


def measured(quick: bool, only: str) -> Iterator[dict[str, Any]]:
    """All that was found so far, after each part."""
    found: dict[str, Any] = {
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "quick": quick,
        "machine": described(),
        "failed": [],
        "parts": {},
    }
    for name, arguments in PARTS.items():
        if only not in name:
            continue
        started = time.monotonic()
        click.echo(f"== {name}", err=True)
        command = [sys.executable, "-m", *f"bench.{name}".split(), *arguments[quick]]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            found["failed"].append(name)
        else:
            found["parts"][name] = _documents(done.stdout)
        click.echo(f"== {name}: {time.monotonic() - started:.0f} s, status {done.returncode}", err=True)
        yield found


def _documents(text: str) -> Any:
    """One JSON document, or a list of one from each line."""
    try:
        return json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]


def write(found: Mapping[str, Any], out: Path) -> None:
    """README.md, and a plot where one tells more than its table."""
    parts = found["parts"]
    lines = [
        "# Measured",
        f"By `make bench`, {found['at']}; all on this one machine: nodes, queue, API, workers, clients.",
    ]
    if found["quick"]:
        lines.append("**A quick run: it shows that everything works, and its figures are of no worth.**")
    if found["failed"]:
        lines.append(f"**Failed: {', '.join(found['failed'])}.**")
    lines.append("\n".join(f"- {what}: {which}" for what, which in found["machine"].items()))
    for name, title in _TITLES.items():
        if name not in parts:
            continue
        lines += [f"## {title}", _table(name, parts[name]).markdown().rstrip()]
        if name in _PLOTS:
            _PLOTS[name](parts[name], out / f"{name}.svg")
            lines.append(f"![{title}]({name}.svg)")
    (out / "README.md").write_text("\n\n".join(lines) + "\n")


_TITLES = {
    "compare": "Beside a raw node, rclone and the prototype",
    "compare --huge": "The same with 1 GiB",
    "prototype": "The prototype's load lines",
    "flipped": "A damaged copy",
    "large": "Large objects",
    "catalogue": "The catalogue's size",
    "curve": "More processes",
    "healing lag": "Copy lag, milliseconds",
    "healing returning": "A node comes back: seconds to the first of its missing copies, and to the last",
    "healing wiped": "An empty disk in a node's place: seconds until it is whole",
    "scrubbing": "A scrub, and who reads meanwhile",
}
_TABLES = {
    "compare": report.compared,
    "compare --huge": report.compared,
    "prototype": report.loads,
    "flipped": report.flipped,
    "large": report.large,
    "catalogue": report.grown,
    "curve": report.curved,
}
_PLOTS = {"compare": report.plot_compared, "flipped": report.plot_flipped}


def _table(name: str, document: Any) -> report.Table:
    if name in _TABLES:
        return _TABLES[name](document)
    return report.plain("", document if isinstance(document, list) else [document])


if __name__ == "__main__":
    main()
