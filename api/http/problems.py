"""The one table error → status, and the two shapes of an error: a problem document, or `{"error": …}` in Spanish.

Pure: the threads that serve no request yet (`api/server/`) speak of errors too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common import errors

PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """`slug` ends the problem's `type`; `spanish` is the sentence of the short door, None: the error's own detail."""

    status: int
    slug: str
    title: str
    spanish: str | None = None


# What no exception of ours stands for.
INTERNAL = ProblemType(500, "internal", "Internal error", "error interno")
NOT_READY = ProblemType(503, "not-ready", "Not ready")
METHOD_NOT_ALLOWED = ProblemType(405, "method-not-allowed", "Method Not Allowed", "método no permitido")
HEAD_LATE = ProblemType(408, "headers-timeout", "Request Timeout")
BUSY = ProblemType(503, "busy", "Service Unavailable", "inténtelo de nuevo")
TARGET_TOO_LONG = ProblemType(414, "uri-too-long", "URI Too Long")
HEAD_TOO_LARGE = ProblemType(431, "headers-too-large", "Request Header Fields Too Large")
TRANSFER_CODING = ProblemType(501, "transfer-coding", "Unsupported Transfer-Encoding")
EXPECTATION_FAILED = ProblemType(417, "expectation-failed", "Expectation Failed")

TABLE: Mapping[type[errors.BovedaError], ProblemType] = {
    errors.Malformed: ProblemType(400, "malformed", "Malformed request"),
    errors.NotAllowed: ProblemType(422, "not-allowed", "Not allowed"),
    errors.NoSuchBucket: ProblemType(404, "no-such-bucket", "No such bucket", "no existe ese depósito"),
    errors.NoSuchObject: ProblemType(404, "no-such-object", "No such object", "archivo no encontrado"),
    errors.NoSuchNode: ProblemType(404, "no-such-node", "No such node"),
    errors.NoSuchJob: ProblemType(404, "no-such-job", "No such job"),
    errors.NoSuchDeadLetter: ProblemType(404, "no-such-dead-letter", "No such dead letter"),
    errors.NoSuchUpload: ProblemType(404, "no-such-upload", "No such upload"),
    errors.NotFound: ProblemType(404, "not-found", "Not found", "no encontrado"),
    errors.Conflict: ProblemType(409, "conflict", "Conflict"),
    errors.UploadGone: ProblemType(410, "upload-gone", "Upload gone"),
    errors.UnsupportedVersion: ProblemType(412, "unsupported-version", "Unsupported version"),
    errors.PreconditionFailed: ProblemType(
        412, "precondition-failed", "Precondition failed", "no se cumple la condición"
    ),
    errors.NotModified: ProblemType(304, "not-modified", "Not modified"),
    errors.RangeNotSatisfiable: ProblemType(416, "range-not-satisfiable", "Range not satisfiable", "rango imposible"),
    errors.Unauthenticated: ProblemType(401, "unauthenticated", "Unauthenticated", "hace falta una credencial válida"),
    errors.Forbidden: ProblemType(403, "forbidden", "Forbidden", "no permitido"),
    errors.BodyCut: ProblemType(400, "body-cut", "Body cut short", "el envío llegó incompleto"),
    errors.BodyTimeout: ProblemType(408, "body-timeout", "Body too slow", "el envío es demasiado lento"),
    errors.DigestMismatch: ProblemType(400, "digest-mismatch", "Digest mismatch", "el resumen no coincide"),
    errors.ChecksumMismatch: ProblemType(460, "checksum-mismatch", "Checksum mismatch"),
    errors.UnsupportedMedia: ProblemType(415, "unsupported-media-type", "Unsupported media type"),
    errors.TooLarge: ProblemType(413, "too-large", "Too large", "el archivo es demasiado grande"),
    errors.QuotaUsedUp: ProblemType(507, "quota-used-up", "Quota used up", "la cuota está agotada"),
    errors.NotEnoughNodes: ProblemType(
        503, "not-enough-nodes", "Not enough nodes", "no hay bastantes nodos disponibles"
    ),
    errors.CopiesUnreachable: ProblemType(
        503, "copies-unreachable", "Copies unreachable", "no se alcanza ninguna copia"
    ),
    errors.CatalogueUnavailable: ProblemType(
        503, "catalogue-unavailable", "Catalogue unavailable", "inténtelo de nuevo"
    ),
    errors.KeysUnavailable: ProblemType(503, "keys-unavailable", "Keys unavailable", "no hay clave disponible"),
    errors.UploadSuperseded: ProblemType(503, "upload-superseded", "Upload superseded", "inténtelo de nuevo"),
    errors.UploadLocked: ProblemType(423, "upload-locked", "Upload locked", "inténtelo de nuevo"),
    errors.Unavailable: ProblemType(503, "unavailable", "Unavailable", "inténtelo de nuevo"),
    errors.ObjectDamaged: ProblemType(502, "object-damaged", "Object damaged", "todas las copias están dañadas"),
    errors.OutcomeUnknown: ProblemType(500, "outcome-unknown", "Outcome unknown", "no se sabe si el cambio se guardó"),
}
ALL: Sequence[ProblemType] = (
    *TABLE.values(),
    INTERNAL,
    NOT_READY,
    METHOD_NOT_ALLOWED,
    HEAD_LATE,
    BUSY,
    TARGET_TOO_LONG,
    HEAD_TOO_LARGE,
    TRANSFER_CODING,
    EXPECTATION_FAILED,
)
SPANISH_DOOR = ("/cargar", "/descargar", "/eliminar")


def answer_of(error: Exception) -> ProblemType:
    """The most specific row of the table; what is not in it is internal."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return INTERNAL


def document(
    path: str, answer: ProblemType, detail: str, request_id: str | None, extra: Mapping[str, object] | None = None
) -> tuple[str, str]:
    """Content type and body, in the words of the door at this path: RFC 9457 at most of them.

    The types are relative addresses: each is described where the API itself is.
    """
    if path.startswith(SPANISH_DOOR):
        return "application/json", json.dumps({"error": answer.spanish or detail}, ensure_ascii=False)
    problem = {
        "type": f"/problems/{answer.slug}",
        "title": answer.title,
        "status": answer.status,
        "detail": detail,
        "request_id": request_id,
        **(extra or {}),
    }
    return PROBLEM, json.dumps(problem, ensure_ascii=False)
