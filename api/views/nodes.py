"""Storage nodes over HTTP: as the shared verdict sees them, and what an operator does with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field

from api.http.answers import answer, nothing
from api.http.bodies import read_json, read_query
from api.http.openapi import documented
from api.http.routing import decode_name
from api.http.schemas import LockedNameList, LossDocument, Lost, NodeDocument, NodeList
from api.services import services
from api.status import node_loss
from api.views.documents import locked_name_document, node_document, preview_document
from common.blobstore.credentials import read_credentials
from common.errors import ConfigurationError, Conflict, NoSuchNode, NotAllowed
from common.model.nodes import Node, NodeMode
from common.model.times import parse_rfc3339
from common.nodes_file import NodeEntry

blueprint = Blueprint("nodes", __name__)

MODES = (NodeMode.ACTIVE, NodeMode.DRAINING, NodeMode.PAUSED)


class NodeChange(BaseModel):
    """Either `mode` or `accept`. `until` (null: until further notice) belongs to the mode `paused`. `dry_run` changes
    nothing and answers with a `preview`."""

    model_config = ConfigDict(extra="forbid")

    mode: str | None = None
    until: str | None = None
    accept: bool | None = None
    dry_run: bool = False


class RemoveQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lost: Literal["true", "false"] = "false"


class NodesGone(BaseModel):
    model_config = ConfigDict(extra="forbid")

    nodes: list[str] = Field(min_length=1, max_length=1000)


@blueprint.get("/v1/nodes")
@documented("List the storage nodes", tag="nodes", answers={200: NodeList})
def list_nodes() -> Response:
    catalogue = services().catalogue
    totals, empty, scrubs = catalogue.nodes.totals(), catalogue.topology.empty(), catalogue.scrubs.all()
    locked = catalogue.locked_names.counts()
    found = [
        node_document(node, totals.get(node.id), node.id in empty, locked.get(node.id, 0), scrubs.get(node.id))
        for node in catalogue.nodes.all()
    ]
    return answer({"nodes": found})


@blueprint.get("/v1/nodes/<name>")
@documented("One storage node", tag="nodes", answers={200: NodeDocument})
def get_node(name: str) -> Response:
    return _shown(_named(decode_name("name", name)))


@blueprint.get("/v1/nodes/<name>/locked-names")
@documented("Names at which a node fails", tag="nodes", answers={200: LockedNameList})
def list_locked_names(name: str) -> Response:
    """The first thousand names there that were given up, oldest first. Their copies lie under other names or on other
    nodes. When the node can let them go (its operator removed what is left of them), a reclaim job forgets them."""
    locked = services().catalogue.locked_names.of(_named(decode_name("name", name)).id)
    return answer({"locked_names": [locked_name_document(each) for each in locked]})


@blueprint.post("/v1/nodes")
@documented("Add a node", tag="nodes", body=NodeEntry, answers={201: NodeDocument}, raises=(Conflict,))
def add() -> Response:
    """It takes part once it was seen. 409 if its name, or its endpoint and bucket, are in use."""
    entry = read_json(request, NodeEntry)
    try:
        read_credentials(services().settings.credentials / f"{entry.credentials}.json")
    except ConfigurationError:
        raise NotAllowed("credentials", "names no file of credentials that this server can use") from None
    return _shown(services().catalogue.topology.add(entry.spec()), 201)


@blueprint.patch("/v1/nodes/<name>")
@documented(
    "Drain, pause, resume, or take in a node",
    tag="nodes",
    body=NodeChange,
    answers={200: NodeDocument},
    raises=(Conflict,),
)
def change(name: str) -> Response:
    """`draining` moves its copies to other nodes; `paused` stops work towards it; `active` ends both. `accept` takes in
    a foreign node: its copies are suspect until each was read whole and right; 409 if it has another's identity."""
    wanted = read_json(request, NodeChange)
    mode, until = _mode(wanted), _until(wanted)
    if (mode is None) == (wanted.accept is None):
        raise NotAllowed("mode", "or accept is needed, and not both")
    if wanted.accept is False:
        raise NotAllowed("accept", "must be true")
    name = decode_name("name", name)
    node = _named(name)
    if wanted.dry_run:
        return _shown(node, preview=_preview(node, mode))
    if mode is None:
        services().nodes.accept(node.id)
        return _shown(_named(name))
    return _shown(services().catalogue.nodes.set_mode(name, mode.value, until))


@blueprint.delete("/v1/nodes/<name>")
@documented("Remove a node", tag="nodes", query=RemoveQuery, answers={204: None, 200: Lost}, raises=(Conflict,))
def remove(name: str) -> Response:
    """409 unless it is `safe_to_remove`. With `lost=true` it is declared gone, whatever lies on it: its copies count no
    more and are made elsewhere, and the answer says of how many blobs there is no other copy."""
    lost = read_query(request, RemoveQuery).lost == "true"
    name, catalogue = decode_name("name", name), services().catalogue
    if lost:
        return answer({"lost": node_loss.lost_with(catalogue, catalogue.topology.retire(name).id)})
    catalogue.topology.remove(name)
    return nothing()


@blueprint.post("/v1/nodes/simulate-loss")
@documented("What could not be read without some nodes", tag="nodes", body=NodesGone, answers={200: LossDocument})
def simulate_loss() -> Response:
    """How many objects would be unavailable if these nodes went away now, how many would be left with one copy that can
    be read, and the first hundred names of the former. Looks at every object."""
    without = {_named(name).id for name in read_json(request, NodesGone).nodes}
    loss = node_loss.loss_of(services().catalogue, without)
    named = [{"bucket": bucket, "key": key} for bucket, key in loss.named]
    return answer({"unavailable": loss.unavailable, "at_one_copy": loss.at_one_copy, "objects": named})


def _mode(wanted: NodeChange) -> NodeMode | None:
    if wanted.mode is None:
        return None
    if wanted.mode not in MODES:
        raise NotAllowed("mode", "must be one of " + ", ".join(MODES))
    return NodeMode(wanted.mode)


def _until(wanted: NodeChange) -> float | None:
    if "until" in wanted.model_fields_set and wanted.mode != NodeMode.PAUSED:
        raise NotAllowed("until", "belongs to the mode paused")
    if wanted.until is None:
        return None
    try:
        until = parse_rfc3339(wanted.until)
    except ValueError:
        raise NotAllowed("until", "must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z") from None
    if until <= services().catalogue.now():
        raise NotAllowed("until", "lies in the past")
    return until


def _preview(node: Node, mode: NodeMode | None) -> Mapping[str, object]:
    look = node_loss.preview_drain if mode is NodeMode.DRAINING else node_loss.preview_still
    return preview_document(look(services().catalogue, node))


def _shown(node: Node, status: int = 200, preview: Mapping[str, object] | None = None) -> Response:
    catalogue = services().catalogue
    totals, empty = catalogue.nodes.totals().get(node.id), node.id in catalogue.topology.empty()
    locked = catalogue.locked_names.counts().get(node.id, 0)
    shown = node_document(node, totals, empty, locked, catalogue.scrubs.get(node.id))
    return answer(shown if preview is None else {**shown, "preview": preview}, status)


def _named(name: str) -> Node:
    for node in services().catalogue.nodes.all():
        if node.spec.name == name:
            return node
    raise NoSuchNode("there is no node of that name")
