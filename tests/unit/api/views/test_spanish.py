"""The short Spanish door: its forms, its names, its errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from api.http.multipart import FORM_OVERHEAD_BYTES
from api.http.schemas import Carga, Eliminado
from tests.unit.api.conftest import MakeApi
from tests.unit.api.world import ApiWorld

BOUNDARY = "frontera"


def part(name: str, data: bytes, filename: str | None = None, extra: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{extra}\r\n'
    return head.encode() + data + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def post(api: ApiWorld, body: bytes, kind: str = f"multipart/form-data; boundary={BOUNDARY}") -> TestResponse:
    return api.client.post("/cargar", data=body, content_type=kind)


def error(response: TestResponse, status: int) -> str:
    """The text of a Spanish error, once status and shape are what they must be."""
    assert response.status_code == status, response.data
    document: dict[str, Any] = json.loads(response.data)
    assert document.keys() == {"error"}
    assert response.headers["X-Request-Id"]
    text: str = document["error"]
    return text


def test_file_goes_in_comes_out_and_is_deleted(api: ApiWorld) -> None:
    data = bytes(range(256)) * 64
    answer = post(api, part("archivo", data, "Actividad.txt", "Content-Type: text/plain\r\n") + END)
    assert answer.status_code == 201
    document = Carga.model_validate_json(answer.data)
    assert (document.archivo, document.copias.wanted) == ("Actividad.txt", 3)

    got = api.client.get("/descargar/Actividad.txt")
    assert (got.status_code, got.data) == (200, data)
    assert got.headers["Content-Disposition"] == 'attachment; filename="Actividad.txt"'
    assert got.headers["Content-Type"] == "text/plain"

    gone = api.client.delete("/eliminar/Actividad.txt")
    assert gone.status_code == 200
    Eliminado.model_validate_json(gone.data)
    assert error(api.client.get("/descargar/Actividad.txt"), 404) == "archivo no encontrado"
    assert error(api.client.delete("/eliminar/Actividad.txt"), 404) == "archivo no encontrado"


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        (r"C:\Users\ana\foto.png", "foto.png"),
        ("dir/sub\\x y.txt", "x y.txt"),
        ("ñandú.txt", "ñandú.txt"),
        (r"say \"hi\".txt", 'say "hi".txt'),
        ("..", ".."),
    ],
)
def test_name_is_the_last_path_component(shared: ApiWorld, filename: str, name: str) -> None:
    answer = post(shared, part("archivo", b"1", filename) + END)
    assert json.loads(answer.data)["archivo"] == name
    got = shared.client.get("/", environ_overrides={"RAW_URI": answer.headers["Location"]})
    assert got.data == b"1"


def test_name_beyond_ascii_is_given_twice(api: ApiWorld) -> None:
    post(api, part("archivo", b"1", 'ñ "x".txt'.replace('"', '\\"')) + END)
    got = api.client.get("/descargar/%C3%B1%20%22x%22.txt")
    assert got.headers["Content-Disposition"] == (
        "attachment; filename=\"_ _x_.txt\"; filename*=UTF-8''%C3%B1%20%22x%22.txt"
    )


def test_other_fields_before_and_behind_are_ignored(api: ApiWorld) -> None:
    body = (
        b"preamble\r\n"
        + part("nota", b"hola" * 100_000)
        + part("otro", b"x", "otro.txt")
        + part("archivo", b"data", "a.txt")
        + part("fin", b"--fronter", "z")
        + END
        + b"epilogue"
    )
    assert post(api, body).status_code == 201
    assert api.client.get("/descargar/a.txt").data == b"data"
    assert api.client.get("/descargar/otro.txt").status_code == 404


@pytest.mark.parametrize(
    "data", [b"", b"\r\n", b"\r\n--fronter", b"x--frontera", b"\n\r\r\n" * 5000, b"-" * 300_000, b"\r" * 300_000]
)
def test_file_that_looks_like_a_boundary_is_stored_whole(api: ApiWorld, data: bytes) -> None:
    assert post(api, part("archivo", data, "a") + END).status_code == 201
    assert api.client.get("/descargar/a").data == data


def test_file_of_several_blobs_is_stored_whole(api: ApiWorld) -> None:
    data = bytes(range(251)) * 40_000
    assert post(api, part("archivo", data, "grande") + END).status_code == 201
    assert api.client.get("/descargar/grande").data == data


WHOLE = part("archivo", b"data" * 100, "cut.txt") + part("nota", b"behind") + END


@pytest.mark.parametrize("cut", [0, 5, 40, 90, 200, 500, len(WHOLE) - 20, len(WHOLE) - 5, len(WHOLE) - 3])
def test_form_without_its_closing_boundary_is_not_visible(shared: ApiWorld, cut: int) -> None:
    error(post(shared, WHOLE[:cut]), 400)
    assert shared.client.get("/descargar/cut.txt").status_code == 404


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (END, None),
        (part("otro", b"1", "a") + END, None),
        (part("archivo", b"1") + END, None),
        (part("archivo", b"1", "") + END, None),
        (part("archivo", b"1", "a") + part("archivo", b"2", "b") + END, None),
        (part("archivo", b"1", "dup") + part("archivo", b"2", "b"), None),
        (b"--frontera\r\nX: 1\r\n\r\n1\r\n" + END, None),
        (b"--frontera\r\n" + b"X: 1\r\n" * 20_000 + b"\r\n\r\n1\r\n" + END, None),
        (part("x", b"1") * 100 + part("archivo", b"1", "a") + END, None),
        (b"archivo=1", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
        (b"1", "multipart/form-data"),
        (b"1", "multipart/form-data; boundary=" + "x" * 80),
        (b"", ""),
        (part("archivo", b"1", "a", "Content-Type: a\x01b\r\n") + END, None),
        ("--frontera\r\nContent-Disposition: form-data; name=archivo; filename=\xff\r\n\r\n".encode("latin-1"), None),
    ],
)
def test_wrong_form_answers_400_and_stores_nothing(shared: ApiWorld, body: bytes, kind: str | None) -> None:
    before = len(shared.nodes.blobs())
    response = post(shared, body) if kind is None else post(shared, body, kind)
    assert error(response, 400)
    assert len(shared.nodes.blobs()) == before
    assert shared.client.get("/descargar/dup").status_code == 404


NET_1, NET_2 = "=?utf-8?B?McK/UXXDqSBlcy5wZGY=?=", "=?utf-8?B?MsK/UXXDqSBlcy5wZGY=?="


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (f"filename=\"{NET_1}\"; filename*=utf-8''1%C2%BFQu%C3%A9%20es.pdf", "1¿Qué es.pdf"),
        (f"filename*=utf-8''1%C2%BFQu%C3%A9%20es.pdf; filename=\"{NET_1}\"", "1¿Qué es.pdf"),
        ("filename=\"?.txt\"; filename*=UTF-8''%C3%B1.txt", "ñ.txt"),
        ("filename=\"_.txt\"; filename*=iso-8859-1'es'%F1.txt", "ñ.txt"),
        (f'filename="{NET_2}"', "2¿Qué es.pdf"),
        ('filename="=?iso-8859-1?Q?a=F1o?="', "año"),
        ('filename*0="lar"; filename*1="go.txt"', "largo.txt"),
        ('filename="a=?b?c.txt"', "a=?b?c.txt"),
    ],
)
def test_a_name_is_stored_as_it_was_meant_however_it_is_written(shared: ApiWorld, disposition: str, name: str) -> None:
    """curl and browsers write the plain form, .NET and PowerShell an encoded word beside the extended one."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="archivo"; {disposition}\r\n\r\n'
    answer = post(shared, head.encode() + b"uno\r\n" + END)
    assert answer.status_code in (200, 201), answer.data
    assert json.loads(answer.data)["archivo"] == name


@pytest.mark.parametrize(
    "disposition", ["filename*=utf-8''%FF.txt", 'filename="=?utf-9?B?AAAA?="', 'filename="=?utf-8?B?A?="']
)
def test_a_name_that_cannot_be_told_is_refused(shared: ApiWorld, disposition: str) -> None:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="archivo"; {disposition}\r\n\r\n'
    error(post(shared, head.encode() + b"uno\r\n" + END), 400)


@pytest.mark.parametrize("filename", ["dir/", "x" * 1025, "a\x01b"])
def test_name_that_breaks_the_rules_answers_422(shared: ApiWorld, filename: str) -> None:
    assert error(post(shared, part("archivo", b"1", filename) + END), 422)


def test_missing_field_is_named(shared: ApiWorld) -> None:
    assert "archivo" in error(post(shared, part("otro", b"1", "a") + END), 400)


def test_too_large_file_answers_413(make_api: MakeApi) -> None:
    api = make_api(max_object_size=1000)
    assert post(api, part("archivo", bytes(1000), "a") + END).status_code == 201
    error(post(api, part("archivo", bytes(1001), "b") + END), 413)
    error(post(api, part("archivo", bytes(1001 + FORM_OVERHEAD_BYTES), "b") + END), 413)
    assert api.client.get("/descargar/b").status_code == 404


def test_errors_here_are_spanish_documents(shared: ApiWorld) -> None:
    assert error(shared.client.get("/cargar"), 405)
    assert error(shared.client.get("/descargar/%FF"), 400)
    assert error(shared.client.get("/descargar/"), 422)
    assert error(shared.client.get("/descargar/x", headers={"Host": "evil"}), 403)
    assert error(shared.client.get("/descargar/x", headers={"If-Match": "bad"}), 404)


def test_ranges_and_conditionals_work_here_too(api: ApiWorld) -> None:
    etag = post(api, part("archivo", b"0123456789", "a") + END).headers["ETag"]
    assert api.client.get("/descargar/a", headers={"Range": "bytes=2-3"}).data == b"23"
    assert api.client.get("/descargar/a", headers={"If-None-Match": etag}).status_code == 304
    assert error(api.client.get("/descargar/a", headers={"Range": "bytes=99-"}), 416)
