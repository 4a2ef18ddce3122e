"""What a drill found, as one JSON document or as a table for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from cli.drill.history import Told
from cli.drill.incidents import LIMITS, Incident
from cli.drill.load import Load

_WIDTH: Final = 120  # where nobody's terminal says how wide it is


@dataclass(frozen=True)
class DrillReport:
    """`lost`: acknowledged objects that are gone, old, or risen again. `wrong`: wrong bytes that were served."""

    seed: int
    incidents: Sequence[Incident]
    acknowledged: int
    lost: Sequence[str]
    wrong: Sequence[str]

    @staticmethod
    def of(seed: int, incidents: Sequence[Incident], load: Load, lost: Sequence[str]) -> DrillReport:
        return DrillReport(seed, incidents, load.history.count(Told.DONE), lost, load.wrong)

    @property
    def good(self) -> bool:
        """Nothing lost, nothing wrong, and every incident healed."""
        return not self.lost and not self.wrong and not any(incident.failed for incident in self.incidents)

    def figures(self) -> Mapping[str, float]:
        """The worst of each that was measured."""
        found: dict[str, float] = {}
        for incident in self.incidents:
            for name, seconds in incident.figures.items():
                found[name] = max(found.get(name, 0.0), seconds)
        return found

    def document(self) -> Mapping[str, Any]:
        return {
            "seed": self.seed,
            "ok": self.good,
            "acknowledged": self.acknowledged,
            "lost": list(self.lost),
            "wrong": list(self.wrong),
            "figures": [
                {"name": name, "seconds": round(seconds, 3), "limit": LIMITS[name], "kept": seconds <= LIMITS[name]}
                for name, seconds in self.figures().items()
            ],
            "incidents": [_document(incident) for incident in self.incidents],
        }

    def show(self) -> None:
        console = Console(width=None if sys.stdout.isatty() else _WIDTH)
        console.print(self._incidents())
        console.print(self._figures())
        for incident in self.incidents:
            if incident.failed or incident.left_out:
                console.print(f"{incident.name}: {incident.failed or incident.left_out}", markup=False, soft_wrap=True)
        for found in (*self.lost, *self.wrong):
            console.print(found, style="red", markup=False, soft_wrap=True)
        style = "green" if self.good else "red"
        lost = f"{len(self.lost)} lost, {len(self.wrong)} read wrong" if self.lost or self.wrong else "nothing lost"
        console.print(f"{self.acknowledged} operations acknowledged, {lost} (seed {self.seed})", style=style)

    def _incidents(self) -> Table:
        table = Table("what was broken", "which", title="Drill")
        for heading in ("requests", "refused", "broken off", "slowest", "full copies after"):
            table.add_column(heading, justify="right")
        for incident in self.incidents:
            seen = incident.seen
            numbers = (str(seen.requests), str(seen.refused), str(seen.broken), f"{seen.slowest:.2f} s")
            table.add_row(incident.name, incident.target, *numbers, _end(incident))
        return table

    def _figures(self) -> Table:
        table = Table("figure")
        for heading in ("measured", "wanted"):
            table.add_column(heading, justify="right")
        for name, seconds in self.figures().items():
            style = "green" if seconds <= LIMITS[name] else "yellow"
            table.add_row(name, f"[{style}]{seconds:.2f} s[/]", f"{LIMITS[name]:g} s")
        return table


def _end(incident: Incident) -> str:
    if incident.failed:
        return "[red]failed[/]"
    if incident.left_out:
        return "left out"
    return f"{incident.healed:.1f} s" if incident.healed is not None else "-"


def _document(incident: Incident) -> Mapping[str, Any]:
    return {
        "name": incident.name,
        "target": incident.target,
        "requests": incident.seen.requests,
        "refused": incident.seen.refused,
        "broken_off": incident.seen.broken,
        "slowest": round(incident.seen.slowest, 3),
        "full_copies_after": None if incident.healed is None else round(incident.healed, 3),
        "left_out": incident.left_out or None,
        "failed": incident.failed or None,
    }
