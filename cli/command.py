"""What all commands of the client share: `--json`, and the edge where an error becomes a line and an exit status.

0 done · 1 failed · 2 wrong use · 3 not found · 4 unavailable, try again
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from cli.client.http import Refused
from common.errors import BovedaError, ConfigurationError, NotAllowed, NotFound, Unavailable

DONE, FAILED, WRONG_USE, NOT_FOUND, UNAVAILABLE = range(5)

_STATUS = {
    404: NOT_FOUND,
    405: WRONG_USE,
    408: UNAVAILABLE,
    410: NOT_FOUND,
    422: WRONG_USE,
    429: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}
_HINT = {
    401: " (set BOVEDA_TOKEN to a valid token)",
    403: " (this token, or this address of the API, is not allowed to)",
}


def exit_status(error: BovedaError) -> int:
    if isinstance(error, Refused):
        return _STATUS.get(error.status, FAILED)
    if isinstance(error, NotFound):
        return NOT_FOUND
    if isinstance(error, Unavailable):
        return UNAVAILABLE
    return WRONG_USE if isinstance(error, ConfigurationError | NotAllowed) else FAILED


def complain(error: BovedaError, as_json: bool) -> None:
    """One line for a person, or one problem document for a script, on standard error."""
    if as_json:
        problem = error.problem if isinstance(error, Refused) else _problem(type(error).__name__, error.detail)
        click.echo(json.dumps(problem, ensure_ascii=False), err=True)
    else:
        hint = _HINT.get(error.status, "") if isinstance(error, Refused) else ""
        click.echo(f"boveda: {error.detail}{hint}", err=True)


def _problem(title: str, detail: str) -> dict[str, str]:
    return {"type": "about:blank", "title": title, "detail": detail}


class ClientCommand(click.Command):
    """A command that talks to the API: has `--json`, and turns every BovedaError into its exit status."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--json", "as_json"], is_flag=True, help="One JSON document, for scripts; errors as problems."
            )
        )

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        with edge(None, "--json" in args):
            return super().make_context(info_name, args, *rest, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with edge(ctx, bool(ctx.params.get("as_json"))):
            return super().invoke(ctx)


class ListingGroup(click.Group):
    """A family whose bare name lists: `boveda nodes --json` is `boveda nodes list --json`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        bare = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if bare else args)


@contextmanager
def edge(ctx: click.Context | None, as_json: bool) -> Iterator[None]:
    """Turn errors into their words and their exit status. Wrong use without `--json` is left to click's own words."""
    try:
        yield
    except click.UsageError as error:
        if not as_json:
            error.ctx = error.ctx or ctx
            raise
        click.echo(json.dumps(_problem("wrong use", error.format_message()), ensure_ascii=False), err=True)
        sys.exit(WRONG_USE)
    except BovedaError as error:
        complain(error, as_json)
        sys.exit(exit_status(error))
    except BrokenPipeError:  # who reads the output went away: click's business
        raise
    except OSError as error:
        complain(LocalFailure(error), as_json)
        sys.exit(FAILED)


class LocalFailure(BovedaError):
    """This machine's own refusal: of a file, a folder, a name, a stream."""

    def __init__(self, error: OSError) -> None:
        what = f"{error.filename}: " if error.filename else ""
        super().__init__(f"{what}{error.strerror or type(error).__name__}")
