"""How results look: one JSON document, columns of text, sizes and ages for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click
from rich.cells import cell_len


def document(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def columns(rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> None:
    """Rows with aligned columns, never cut short; the numbers in `right` name right-aligned columns."""
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = [_padded(cell, widths[i], i in right) for i, cell in enumerate(row)]
        click.echo("  ".join(cells).rstrip())


def _text(cell: object) -> str:
    return "-" if cell is None else str(cell)


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(cell))
    return space + cell if right else cell + space


def size(count: float) -> str:
    """Bytes in binary units, as in `1.5 MiB`."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def age(seconds: float | None) -> str:
    """A duration in its two largest units, as in `2 h 5 min`; `-` for none."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next(i for i, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2])
