"""`boveda`: the root of all commands. A family's module is loaded when one of its commands is used.

So `--help` and completion answer at once, and what one family needs can be missing where it is not used.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final

import click


@dataclass(frozen=True, slots=True)
class Lazy:
    """Where a command is, and its line in the overview."""

    module: str
    attribute: str
    help: str


FAMILIES: Final[Mapping[str, Mapping[str, Lazy]]] = {
    "Embedded cluster": {
        "up": Lazy("cli.cluster.commands", "up", "Start the embedded cluster."),
        "down": Lazy("cli.cluster.commands", "down", "Stop it; --wipe deletes its data too."),
        "cluster": Lazy(
            "cli.cluster.commands", "cluster", "Show what runs; stop, start, kill one process; add a node."
        ),
    },
    "Objects": {
        "put": Lazy("cli.commands.transfer", "put", "Store files."),
        "get": Lazy("cli.commands.transfer", "get", "Fetch an object into a file."),
        "cat": Lazy("cli.commands.transfer", "cat", "Write objects to standard output."),
        "ls": Lazy("cli.commands.objects", "ls", "List buckets, or objects."),
        "stat": Lazy("cli.commands.objects", "stat", "Show an object and its copies."),
        "rm": Lazy("cli.commands.objects", "rm", "Delete objects."),
        "mb": Lazy("cli.commands.objects", "mb", "Make a bucket, or change its settings."),
        "rb": Lazy("cli.commands.objects", "rb", "Delete an empty bucket."),
    },
    "Operation": {
        "status": Lazy("cli.commands.status", "status", "Show how the store is doing."),
        "nodes": Lazy("cli.commands.nodes", "nodes", "Show the storage nodes, or change one."),
        "jobs": Lazy("cli.commands.jobs", "jobs", "Repairs, scrubs and other jobs: start, follow, cancel."),
        "dead-letters": Lazy(
            "cli.commands.dead_letters", "dead_letters", "Copies that are no longer tried by themselves."
        ),
        "bench": Lazy("cli.commands.bench", "bench", "Measure uploads, downloads and deletes, and check them."),
        "drill": Lazy("cli.drill.command", "drill", "Break the embedded cluster on purpose, and watch it heal."),
        "keys": Lazy("cli.commands.keys", "keys", "The keyring: make, list, check."),
        "config": Lazy("cli.commands.config", "config", "Every setting, its value and its meaning."),
    },
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and loads one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for family in FAMILIES.values() for name in family]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for family in FAMILIES.values():
            if cmd_name in family:
                lazy = family[cmd_name]
                command: click.Command = getattr(import_module(lazy.module), lazy.attribute)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, family in FAMILIES.items():
            with formatter.section(title):
                formatter.write_dl([(name, lazy.help) for name, lazy in family.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="boveda")
def main() -> None:
    """Bóveda: encrypted, replicated, self-healing object storage.

    Settings are environment variables (`boveda config` lists them). Exit status: 0 done, 1 failed, 2 wrong use,
    3 not found, 4 unavailable (try again).
    """


if __name__ == "__main__":
    sys.exit(main())
