"""`boveda config`: every setting with its default, present value and meaning. A value that is secret is not shown."""

from __future__ import annotations

import os
from typing import Any

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from cli import output
from cli.command import ClientCommand
from common.settings import Settings, load

HIDDEN = "(set, not shown)"
_CREDENTIALS_MAY_BE_IN = ("notify",)
"""Settings that are no secret by type, but may hold one: the addresses of notifications carry tokens."""


@click.command(cls=ClientCommand)
def config(as_json: bool) -> None:
    """Show every setting: environment variable, present value, default, meaning."""
    settings = load()
    rows = [describe(settings, name, field) for name, field in Settings.model_fields.items()]
    if as_json:
        output.document({"settings": rows})
        return
    for row in rows:
        mark = "" if row["set"] else "  (default)"
        click.echo(f"{row['name']}={_words(row['value'])}{mark}")
        default = f" Default: {_words(row['default'])}." if row["set"] else ""
        click.echo(f"    {row['meaning']}.{default}")


def describe(settings: Settings, name: str, field: FieldInfo) -> dict[str, Any]:
    """One setting as a document; `value` and `default` are JSON values."""
    variable = f"BOVEDA_{name.upper()}"
    return {
        "name": variable,
        "value": _shown(name, getattr(settings, name)),
        "default": _plain(field.default),
        "set": bool(os.environ.get(variable)) or getattr(settings, name) != field.default,
        "meaning": field.description,
    }


def _shown(name: str, value: object) -> object:
    secret = isinstance(value, SecretStr) or name in _CREDENTIALS_MAY_BE_IN
    return HIDDEN if secret and _plain(value) else _plain(value)


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _words(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)
