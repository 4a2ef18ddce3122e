"""The prototype's design, written again from its description, to be measured beside Bóveda: not a part of it.

    python -m bench.prototype_server PORT    the nodes, and the key, as JSON on standard input

Flask's development server. `POST /cargar`: the whole file in memory, sealed with AES-EAX, put on every node by a
thread for each, answered when all have ended. `GET /descargar/<name>`: fetched whole from the first node that has it,
opened, sent. No catalogue, no queue: what a thread could not put is missing for good.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from threading import Thread

from Crypto.Cipher import AES
from flask import Flask, Response, request, send_file
from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

BUCKET = "prototipo"
_NONCE, _TAG = 16, 16


def create_app(nodes: Sequence[Minio], key: bytes) -> Flask:
    app = Flask("prototype")

    @app.post("/cargar")
    def cargar() -> tuple[dict[str, str], int]:
        file = request.files["archivo"]
        name = str(file.filename)
        cipher = AES.new(key, AES.MODE_EAX)
        content, tag = cipher.encrypt_and_digest(file.read())
        sealed = cipher.nonce + tag + content
        failed: list[Exception] = []
        threads = [Thread(target=_put, args=(node, name, sealed, failed)) for node in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"archivo": name}, 200 if not failed else 500

    @app.get("/descargar/<name>")
    def descargar(name: str) -> Response:
        sealed = _get(nodes, name)
        cipher = AES.new(key, AES.MODE_EAX, nonce=sealed[:_NONCE])
        content = cipher.decrypt_and_verify(sealed[_NONCE + _TAG :], sealed[_NONCE : _NONCE + _TAG])
        return send_file(io.BytesIO(content), download_name=name, as_attachment=True)

    return app


def _put(node: Minio, name: str, sealed: bytes, failed: list[Exception]) -> None:
    try:
        node.put_object(BUCKET, name, io.BytesIO(sealed), len(sealed))
    except (MinioException, HTTPError) as error:
        failed.append(error)


def _get(nodes: Sequence[Minio], name: str) -> bytes:
    for node in nodes:
        try:
            return node.get_object(BUCKET, name).read()
        except (MinioException, HTTPError):
            continue
    raise LookupError(f"no node has {name}")


def main() -> None:
    given = json.load(sys.stdin)
    nodes = [Minio(place, access, secret, secure=False, region="us-east-1") for place, access, secret in given["nodes"]]
    for node in nodes:
        if not node.bucket_exists(BUCKET):
            node.make_bucket(BUCKET)
    create_app(nodes, bytes.fromhex(given["key"])).run("127.0.0.1", int(sys.argv[1]))


if __name__ == "__main__":
    main()
