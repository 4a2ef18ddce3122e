"""The API process: Flask blueprints over use cases. `create_app` is what production and tests call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from api.services import Services

__all__ = ["create_app"]


def create_app(services: Services) -> Flask:
    """The WSGI application over these parts. Makes no connection and starts no thread."""
    # Imported here so that `api.gunicorn_conf` can prepare the environment before anything of the package is loaded.
    from api import buckets, errors, health, jobs, nodes, objects, pages, requests, spanish
    from api.routing import RawFlask
    from api.services import EXTENSION

    app = RawFlask("boveda")
    app.extensions[EXTENSION] = services
    errors.install(app)
    requests.install(app, services.guard)
    for module in (objects, buckets, spanish, jobs, nodes, health, pages):
        app.register_blueprint(module.blueprint)
    return app
