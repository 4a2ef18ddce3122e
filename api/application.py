"""The blueprints and hooks, joined to one Flask application."""

from __future__ import annotations

from flask import Flask

import api.http.error_handlers
import api.http.hooks
import api.views.buckets
import api.views.dead_letters
import api.views.health
import api.views.jobs
import api.views.nodes
import api.views.objects
import api.views.pages
import api.views.spanish
import api.views.uploads
from api.http.routing import RawFlask
from api.services import EXTENSION, Services

BLUEPRINTS = (
    api.views.objects.blueprint,
    api.views.buckets.blueprint,
    api.views.spanish.blueprint,
    api.views.uploads.blueprint,
    api.views.jobs.blueprint,
    api.views.dead_letters.blueprint,
    api.views.nodes.blueprint,
    api.views.health.blueprint,
    api.views.pages.blueprint,
)


def assemble(services: Services) -> Flask:
    app = RawFlask("boveda")
    app.extensions[EXTENSION] = services
    api.http.error_handlers.install(app)
    api.http.hooks.install(app, services.guard)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app
