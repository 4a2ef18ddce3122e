"""The API process: Flask blueprints over use cases. `create_app` is what production and tests call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from api.services import Services

__all__ = ["create_app"]


def create_app(services: Services) -> Flask:
    """The WSGI application over these parts. Makes no connection and starts no thread."""
    # Imported here: `api.gunicorn_conf` has to say where metrics are kept before any is made.
    from api.application import assemble

    return assemble(services)
