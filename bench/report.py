"""What was measured as tables, for a terminal and for `docs/results/`; and as plots.

Everything is made from the JSON documents that the parts print, so a report can be made again without measuring.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Shown

GIB = 1 << 30


@dataclass(frozen=True)
class Table:
    """The first `words` columns are text, the others numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1

    def show(self) -> None:
        shown = Shown(title=self.title)
        for number, column in enumerate(self.header):
            shown.add_column(column, justify="left" if number < self.words else "right")
        for row, following in zip(self.rows, [*self.rows[1:], self.rows[-1]], strict=True):
            shown.add_row(*row, end_section=self.words > 1 and row[0] != following[0])
        Console(width=170).print(shown)

    def markdown(self) -> str:
        rule = [" --- " if number < self.words else " ---: " for number in range(len(self.header))]
        lines = [_line(self.header), f"|{'|'.join(rule)}|", *map(_line, self.rows)]
        return (f"{self.title}\n\n" if self.title else "") + "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def compared(document: Mapping[str, Any]) -> Table:
    """Of `bench.compare`."""
    rows = []
    for work, by_system in document["work"].items():
        for system, runs in by_system.items():
            loads = [run["load"] for run in runs]
            rows.append(
                (
                    work,
                    system,
                    spread([load["rate"] for load in loads]),
                    _median(_each(run["load"]["rate"] * run["moved"], run["load"]["requests"]) / 1e6 for run in runs),
                    _median(run["everywhere"] for run in runs),
                    _median(load["p50"] for load in loads),
                    _median(load["p99"] for load in loads),
                    str(sum(load["bad"] for load in loads)),
                    _median((1000 * _each(run["cpu"], run["load"]["requests"]) for run in runs), 2),
                    _median(GIB * _each(run["cpu"], run["moved"]) for run in runs),
                    _median((run["resident"] for run in runs), 0),
                )
            )
    header = ("work", "system", "a second: median (least–most)", "MB/s", "all copies, a second", "p50 ms", "p99 ms")
    costs = ("bad", "CPU s per 1000", "CPU s per GiB", "resident MiB")
    return Table(f"{document['rounds']} rounds; {_words(document['machine'])}", (*header, *costs), rows, 2)


def _each(value: float, count: int) -> float:
    """Not a number where not one request ended in the time."""
    return value / count if count else nan


def _median(values: Iterable[float], digits: int = 1) -> str:
    known = [value for value in values if not isnan(value)]
    return f"{statistics.median(known):,.{digits}f}" if known else "–"


def _words(of: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in of.items())


def loads(document: Mapping[str, Any]) -> Table:
    """Of `bench.prototype`."""
    rows = [
        (
            name,
            spread([run["rate"] for run in runs], 0),
            _median(run["p50"] for run in runs),
            _median(run["p99"] for run in runs),
            str(sum(run["bad"] for run in runs)),
        )
        for name, runs in document["loads"].items()
    ]
    lag = document["copy_lag_ms"]
    title = (
        f"16 KiB, 10 clients; copy lag at 20 uploads a second over {lag['uploads']} uploads: p50 {lag['p50']:.0f} ms, "
        f"p99 {lag['p99']:.0f} ms, most {lag['most']:.0f} ms"
    )
    return Table(title, ("load", "a second: median (least–most)", "p50 ms", "p99 ms", "bad"), rows)


def flipped(document: Mapping[str, Any]) -> Table:
    """Of `bench.flipped`."""
    rows = [
        (
            size,
            system,
            str(of["right"] + of["wrong"] + of["failed"]),
            *(str(of[name]) for name in ("right", "wrong", "failed")),
            *(spread(of[name]) for name in ("clean", "first", "later")),
        )
        for size, by_system in document.items()
        for system, of in by_system.items()
    ]
    header = ("size", "system", "reads", "right", "WRONG", "failed", "as it is, ms", "met the damage, ms", "later, ms")
    return Table("One byte of one copy is damaged: median (least–most)", header, rows, 2)


def grown(document: Mapping[str, Any]) -> Table:
    """Of `bench.catalogue`."""
    few, many = map(str, document["rows"])
    rows = []
    for what, by_rows in document["values"].items():
        ratio = statistics.median(by_rows[many]) / max(statistics.median(by_rows[few]), 1e-9)
        rows.append((what, spread(by_rows[few]), spread(by_rows[many]), f"{ratio:.2f}"))
    title = f"{document['listed']:,} keys are listed in {document['seconds_to_list']:.1f} s, in pages of 1,000"
    return Table(title, ("", f"{int(few):,} objects", f"{int(many):,} objects", "ratio"), rows)


def curved(document: Mapping[str, Any]) -> Table:
    """Of `bench.curve`."""
    rows = [
        (
            str(of["api_processes"]),
            str(of["workers"]),
            *(spread([rates[name] for rates in of["rates"]]) for name in ("put", "everywhere", "get")),
        )
        for of in document["settings"]
    ]
    title = f"16 KiB, 8 clients, a second: median (least–most); {_words(document['machine'])}"
    return Table(title, ("API processes", "workers", "PUT", "all copies", "GET"), rows, 0)


def large(document: Mapping[str, Any]) -> Table:
    """Of `bench.large`. The peaks are the highest of all rounds."""
    megabytes = document["bytes"] / 1e6
    rows = []
    for way, by_blob_size in document["steps"].items():
        for blob_size, steps in by_blob_size.items():
            rates = [[megabytes / step[what] for step in steps] for what in ("put", "get")]
            peaks = [step[of] for step in steps for of in ("put_peaks", "get_peaks")]
            rows.append(
                (
                    way,
                    blob_size,
                    spread(rates[0], 0),
                    spread([step["copies"] for step in steps]),
                    spread(rates[1], 0),
                    *(f"{max(peak['resident'].get(kind, 0) for peak in peaks):.0f}" for kind in _WATCHED),
                    f"{max(peak['grown'] for peak in peaks):.1f}",
                )
            )
    header = ("in and out", "blobs, MiB", "in, MB/s", "copies later, s", "out, MB/s")
    title = f"{document['bytes'] / GIB:,.3g} GiB, {document['rounds']} rounds: median (least–most); peaks in MiB"
    return Table(title, (*header, *(f"{kind}, peak" for kind in _WATCHED), "most a file grew"), rows)


_WATCHED = ("api", "worker", "client")


def plain(title: str, lines: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each document, a column for each of its numbers."""
    header = tuple(lines[0])
    return Table(title, header, [[f"{line[name]:,.5g}" for name in header] for line in lines], 0)


# -- plots


def plot_compared(document: Mapping[str, Any], path: Path) -> None:
    """A field for each work: requests a second of each system, median with the least and the most."""
    values = {
        work: {system: [run["load"]["rate"] for run in runs] for system, runs in by_system.items()}
        for work, by_system in document["work"].items()
    }
    _bars(values, "requests a second", path)


def plot_flipped(document: Mapping[str, Any], path: Path) -> None:
    values = {
        f"{size}, {words}": {system: of[name] for system, of in by_system.items()}
        for size, by_system in document.items()
        for name, words in (("clean", "as it is"), ("first", "met the damage"))
    }
    _bars(values, "milliseconds of a read", path)


def _bars(values: Mapping[str, Mapping[str, Sequence[float]]], unit: str, path: Path) -> None:
    import matplotlib  # only a report needs it: the parts run without
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "boveda"  # the same figures make the same file
    systems = list(dict.fromkeys(system for of in values.values() for system in of))
    lines = -(-len(values) // 2)
    figure = Figure(figsize=(11, 0.4 + 1.9 * lines), layout="constrained")
    fields = figure.subplots(lines, 2, squeeze=False).flat
    for (name, of), field in zip(values.items(), fields, strict=False):
        middles = [statistics.median(of[system]) for system in of]
        reach = [
            [middle - min(of[system]) for middle, system in zip(middles, of, strict=True)],
            [max(of[system]) - middle for middle, system in zip(middles, of, strict=True)],
        ]
        colours = [f"C{systems.index(system)}" for system in of]
        field.barh(list(of), middles, xerr=reach, color=colours, error_kw={"elinewidth": 1, "capsize": 2})
        field.invert_yaxis()
        field.set_title(name, fontsize=9)
        field.tick_params(labelsize=8)
    for field in list(figure.axes)[len(values) :]:
        field.remove()
    figure.supxlabel(unit, fontsize=9)
    figure.savefig(path, metadata={"Date": None})
