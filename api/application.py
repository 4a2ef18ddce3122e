"""The blueprints and hooks, joined to one Flask application."""

from __future__ import annotations

from flask import Flask

import api.buckets
import api.dead_letters
import api.errors
import api.health
import api.jobs
import api.nodes
import api.objects
import api.pages
import api.requests
import api.spanish
import api.uploads
from api.routing import RawFlask
from api.services import EXTENSION, Services

BLUEPRINTS = (
    api.objects.blueprint,
    api.buckets.blueprint,
    api.spanish.blueprint,
    api.uploads.blueprint,
    api.jobs.blueprint,
    api.dead_letters.blueprint,
    api.nodes.blueprint,
    api.health.blueprint,
    api.pages.blueprint,
)


def assemble(services: Services) -> Flask:
    app = RawFlask("boveda")
    app.extensions[EXTENSION] = services
    api.errors.install(app)
    api.requests.install(app, services.guard)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app
