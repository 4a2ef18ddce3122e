"""Storage nodes over HTTP: as the shared verdict sees them, and taking a foreign one in."""

from __future__ import annotations

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict

from api.bodies import read_json
from api.documents import answer, node_document
from api.openapi import documented
from api.routing import decode_name
from api.schemas import NodeDocument, NodeList
from api.services import services
from common.errors import NoSuchNode, NotAllowed
from common.objects import Node

blueprint = Blueprint("nodes", __name__)


class NodeChange(BaseModel):
    """`accept` takes in a foreign node. `mode` and `until` are part of the contract, and not built yet."""

    model_config = ConfigDict(extra="forbid")

    accept: bool | None = None
    mode: str | None = None
    until: str | None = None


@blueprint.get("/v1/nodes")
@documented("List the storage nodes", tag="nodes", answers={200: NodeList})
def list_nodes() -> Response:
    rows = services().catalogue.nodes
    totals = rows.totals()
    return answer({"nodes": [node_document(node, totals.get(node.id)) for node in rows.all()]})


@blueprint.patch("/v1/nodes/<name>")
@documented("Take in a foreign node", tag="nodes", body=NodeChange, answers={200: NodeDocument, 409: None})
def change(name: str) -> Response:
    """Its copies are suspect until each was read whole and right. 409 if it has another node's identity."""
    parts = services()
    wanted = read_json(request, NodeChange)
    for field in ("mode", "until"):
        if getattr(wanted, field) is not None:
            raise NotAllowed(field, "cannot be changed in this release")
    if not wanted.accept:
        raise NotAllowed("accept", "must be true")
    name = decode_name("name", name)
    parts.nodes.accept(_named(name).id)
    node = _named(name)
    return answer(node_document(node, parts.catalogue.nodes.totals().get(node.id)))


def _named(name: str) -> Node:
    for node in services().catalogue.nodes.all():
        if node.spec.name == name:
            return node
    raise NoSuchNode("there is no node of that name")
