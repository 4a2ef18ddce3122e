"""The application that the gunicorn of these tests loads: the world of the unit tests, over the database in the home."""

from __future__ import annotations

from common.settings import load
from tests.unit.api.world import ApiWorld

_settings = load()
world = ApiWorld(_settings.home / "catalogue.db", _settings)
app = world.app
