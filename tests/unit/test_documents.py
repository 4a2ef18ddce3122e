"""What the documents name exists: files, symbols, settings, targets, commands with their options, links."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.main import main as boveda
from common.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OTHERS = {"BOVEDA_TOKEN", "BOVEDA_TEST_REQUIRE", "BOVEDA_MINIO"}  # not settings of a process of the store


def pairs(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """(document, match) for everything the pattern finds, once each."""
    found = {(document.relative_to(ROOT).as_posix(), hit) for document in DOCUMENTS
             for hit in pattern.findall(document.read_text())}  # fmt: skip
    assert found
    return sorted(found)


@pytest.mark.parametrize(("document", "target"), pairs(re.compile(r"\]\(([^)#:]+)\)")))
def test_a_link_leads_to_a_file(document: str, target: str) -> None:
    assert (ROOT / document).parent.joinpath(target).exists()


@pytest.mark.parametrize(
    ("document", "path"), pairs(re.compile(r"`((?:api|workers|common|cli|tests|docs|compose|bench)/[\w./-]*)`"))
)
def test_a_named_file_exists(document: str, path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("document", "setting"), pairs(re.compile(r"\b(BOVEDA_[A-Z_]+)\b")))
def test_a_named_setting_exists(document: str, setting: str) -> None:
    assert setting in OTHERS or setting.removeprefix("BOVEDA_").lower() in Settings.model_fields


@pytest.mark.parametrize(("document", "target"), pairs(re.compile(r"(?:^\$ |`)make ([a-z-]+)", re.MULTILINE)))
def test_a_named_target_exists(document: str, target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("path", "symbol"), [
    (path, symbol)
    for _, text in pairs(re.compile(r"`((?:api|workers|common)/[\w/]+\.py`, `[A-Z]\w+)`"))
    for path, symbol in [text.split("`, `")]
])  # fmt: skip
def test_a_named_symbol_stands_in_its_module(path: str, symbol: str) -> None:
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert hasattr(module, symbol)


def test_both_readmes_say_to_type_the_same() -> None:
    english, spanish = (
        [block for kind, block in BLOCK.findall((ROOT / name).read_text()) if kind == "sh"]
        for name in ("README.md", "README.es.md")
    )
    assert english == spanish


def commands() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        text = document.read_text()
        inline = [code for code in CODE.findall(BLOCK.sub("", text)) if re.match(r"boveda \S", code)]
        lines = [line.removeprefix("$ ") for _, block in BLOCK.findall(text) for line in block.splitlines()]
        for command in {*inline, *(line for line in lines if re.match(r"(\.venv/bin/)?boveda \S", line))}:
            if "…" not in command:
                yield document.name, command


@pytest.mark.parametrize(("document", "command"), sorted(commands()))
def test_a_named_command_is_one_with_these_options(document: str, command: str) -> None:
    words = shlex.split(command.partition("#")[0])[1:]
    found: click.Command = boveda
    context = click.Context(found)
    while words and isinstance(found, click.Group) and not words[0].startswith("-"):
        inner = found.get_command(context, words[0])
        assert inner is not None, f"{document}: there is no {words[0]!r} in `boveda {' '.join(words)}`"
        found, words = inner, words[1:]
        context = click.Context(found, parent=context)
    known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known
