"""What the gunicorn of these tests loads: the world of the unit tests, over the database in the home."""

from __future__ import annotations

import json
import time

from flask import Response

from common.blobstore.base import background
from common.settings import load
from tests.unit.api.world import ApiWorld

_settings = load()
world = ApiWorld(_settings.home / "catalogue.db", _settings)
app = world.app


@app.post("/prueba/estropear")
def damage() -> Response:
    """Change the last byte of every blob on every node."""
    for store, name in world.nodes.blobs():
        data = bytearray(store.read(name, background(0), 16 << 20))
        data[-1] ^= 1
        store.put(name, data, background(0))
    return Response(status=204)


@app.get("/prueba/sobras")
def left_over() -> Response:
    """The names on nodes that belong to no current version, with the state of theirs."""
    return Response(json.dumps(world.left_over()))


@app.get("/prueba/lento")
def slow() -> Response:
    """Takes a second; that it has begun shows in the home."""
    (_settings.home / "lento").touch()
    time.sleep(1)
    return Response("hecho")
