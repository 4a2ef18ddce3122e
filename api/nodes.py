"""Storage nodes over HTTP: as the shared verdict sees them, and taking a foreign one in."""

from __future__ import annotations

from flask import Blueprint, Response

from api.documents import answer, node_document
from api.openapi import documented
from api.schemas import NodeList
from api.services import services

blueprint = Blueprint("nodes", __name__)


@blueprint.get("/v1/nodes")
@documented("List the storage nodes", tag="nodes", answers={200: NodeList})
def list_nodes() -> Response:
    rows = services().catalogue.nodes
    totals = rows.totals()
    return answer({"nodes": [node_document(node, totals.get(node.id)) for node in rows.all()]})
