"""The short Spanish door: three addresses over the bucket `archivos`, for plain `curl` and `ab`."""

from __future__ import annotations

import re
from urllib.parse import quote

from flask import Blueprint, Response, request

from api.http.answers import answer
from api.http.conditionals import guards
from api.http.multipart import FormFile
from api.http.openapi import DOWNLOAD, DOWNLOADED, GUARD_HEADERS, READ_HEADERS, UPLOAD, documented
from api.http.routing import decode_name
from api.http.schemas import Carga, Eliminado
from api.services import services
from api.views.documents import copies_of
from api.views.downloads import download
from common.errors import Malformed, PreconditionFailed
from common.model.names import SPANISH_BUCKET, check_key
from common.model.versions import Headers

blueprint = Blueprint("spanish", __name__)

FIELD = "archivo"


@blueprint.post("/cargar")
@documented(
    "Cargar un archivo (campo multipart `archivo`)",
    tag="español",
    body="form",
    headers=GUARD_HEADERS,
    answers={201: Carga},
    raises=UPLOAD,
)
def cargar() -> Response:
    parts = services()
    form = FormFile(request, FIELD, parts.settings.max_object_size)
    name = check_key(_last_component(form.filename), FIELD)
    stored = parts.store(SPANISH_BUCKET, name, form, _headers(form.content_type), preconditions=guards(request))
    document = {
        "mensaje": "archivo guardado",  # of one length, new or replaced: `ab` counts another as a failure
        "archivo": name,
        "version": stored.version.id,
        "copias": copies_of(stored.protection),
    }
    return answer(document, 201, {"ETag": stored.version.etag, "Location": f"/descargar/{quote(name, safe='')}"})


@blueprint.get("/descargar/<key:nombre>")
@documented("Descargar un archivo", tag="español", headers=READ_HEADERS, answers=DOWNLOADED, raises=DOWNLOAD)
def descargar(nombre: str) -> Response:
    name = _name(nombre)
    return download(SPANISH_BUCKET, name, [("Content-Disposition", attachment(_last_component(name) or name))])


@blueprint.delete("/eliminar/<key:nombre>")
@documented(
    "Eliminar un archivo",
    tag="español",
    headers=GUARD_HEADERS,
    answers={200: Eliminado},
    raises=(PreconditionFailed,),
)
def eliminar(nombre: str) -> Response:
    name = _name(nombre)
    services().catalogue.objects.delete(SPANISH_BUCKET, name, guards(request))
    return answer({"mensaje": "archivo eliminado", "archivo": name})


def attachment(name: str) -> str:
    """A Content-Disposition that saves under this name (RFC 6266): `filename` for ASCII, `filename*` for the rest."""
    plain = re.sub(r'[^ -~]|["\\%;]', "_", name)
    value = f'attachment; filename="{plain}"'
    return value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe='')}"


def _name(raw: str) -> str:
    return check_key(decode_name("nombre", raw), "nombre")


def _last_component(filename: str) -> str:
    return re.split(r"[/\\]", filename)[-1]


def _headers(content_type: str | None) -> Headers:
    if not content_type:
        return Headers()
    if len(content_type) > 255 or not re.fullmatch(r"[ -~]+", content_type):
        raise Malformed("Content-Type", "of the file must be a media type")
    return Headers(content_type=content_type)
