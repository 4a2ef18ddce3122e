"""The list of disasters names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = ROOT / "tests" / "faults" / "README.md"
_TEST = re.compile(r"`(tests/\S+\.py)::(test_\w+)`")


def test_every_test_that_the_list_of_disasters_names_is_there() -> None:
    named = _TEST.findall(LIST.read_text())
    assert len(named) > 30
    absent = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text()
    ]
    assert absent == []


def test_every_disaster_has_its_test() -> None:
    numbers = {int(number) for number in re.findall(r"^\| (\d+) \|.*`tests/", LIST.read_text(), re.MULTILINE)}
    assert numbers == {*range(1, 32), 35, 36, 37}
