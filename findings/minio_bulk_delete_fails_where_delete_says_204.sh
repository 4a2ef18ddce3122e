#!/usr/bin/env bash
# MinIO v0.0.0-20260212201848 (Go module), one drive: an object's xl.meta is cut to no bytes (what a power cut may leave).
#
# A good engineer would guess that DeleteObjects is DeleteObject for many names. What happens with that one name:
# - GET and HEAD: 404 NoSuchKey, and it is in no listing. So to every reader the object is absent.
# - DeleteObjects (bulk): 200 with InternalError for that name, each time, though it "is not there".
# - DeleteObject (single): 204, each time. It removes nothing: xl.meta and the file with the bytes stay on the disk.
# So a cleaner that deletes in bulk never comes to an end with the name, and one that deletes it alone believes it gone.
# A put of the name works, and after it both deletes do; the file with the old bytes stays on the disk for good.
# Client: minio-py 7.2.20. This script fails if the behaviour is another one.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
PATH=$PATH:/usr/local/go/bin:/usr/lib/go/bin

GOBIN=$folder go install -ldflags "-s -w" github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check minio==7.2.20
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
console=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
mkdir "$folder/data"
HOME=$folder MINIO_ROOT_USER=somebody MINIO_ROOT_PASSWORD=something MINIO_BROWSER=off MINIO_UPDATE=off \
    "$folder/minio" server --quiet --address "127.0.0.1:$port" --console-address "127.0.0.1:$console" "$folder/data" \
    >"$folder/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    curl -sf -o /dev/null "http://127.0.0.1:$port/minio/health/live" && break
    sleep 0.1
done

"$folder/venv/bin/python" - "$port" "$folder/data" <<'PY'
import io
import pathlib
import sys

import minio
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

print("minio-py", minio.__version__)
port, data = sys.argv[1], pathlib.Path(sys.argv[2])
client = minio.Minio(f"127.0.0.1:{port}", "somebody", "something", secure=False, region="us-east-1")
client.make_bucket("bucket")
body = bytes(200_000)
client.put_object("bucket", "one", io.BytesIO(body), len(body))
client.put_object("bucket", "two", io.BytesIO(body), len(body))
(data / "bucket" / "one" / "xl.meta").write_bytes(b"")


def bulk(*names):
    return {error.name: error.code for error in client.remove_objects("bucket", map(DeleteObject, names))}


def expect(what, seen, wanted):
    print(f"{what}: {seen}")
    if seen != wanted:
        sys.exit(f"changed: {wanted} was expected")


try:
    client.stat_object("bucket", "one")
    seen = "there"
except S3Error as error:
    seen = error.code
expect("HEAD of it", seen, "NoSuchKey")
expect("listed", [found.object_name for found in client.list_objects("bucket")], ["two"])
expect("bulk delete of a name that never was", bulk("three"), {})
expect("bulk delete of it", bulk("one"), {"one": "InternalError"})
expect("bulk delete of it once more", bulk("one"), {"one": "InternalError"})
expect("single delete of it", client.remove_object("bucket", "one"), None)
expect("bulk delete after that", bulk("one"), {"one": "InternalError"})
left = sorted(path.name for path in (data / "bucket" / "one").rglob("*") if path.is_file())
expect("on the disk", left, ["part.1", "xl.meta"])
client.put_object("bucket", "one", io.BytesIO(body), len(body))
expect("bulk delete after a put", bulk("one"), {})
left = sorted(path.name for path in (data / "bucket" / "one").rglob("*") if path.is_file())
expect("on the disk then", left, ["part.1"])
print("as described")
PY
