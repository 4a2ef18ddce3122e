#!/bin/sh
# Images for a machine that reaches package registries but no image registry: they stand in for the public ones, so that
# compose/test.sh can run compose/docker-compose.yml there. They prove that file and our images, not the public images.
#
#     compose/stand-ins/build.sh      prints the environment under which compose takes them
#
# Needs: an engine; a Debian base under the name of $PYTHON_IMAGE (made here by mmdebstrap if it is absent); a MinIO
# server binary ($BOVEDA_MINIO, or `minio` in PATH or in Go's bin: `make minio`).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
base=${PYTHON_IMAGE:-python:3.11-slim-bookworm}
minio=${BOVEDA_MINIO:-$(command -v minio || echo "${GOPATH:-$HOME/go}/bin/minio")}
[ -x "$minio" ] || { echo "no MinIO server binary at $minio: run 'make minio' or set BOVEDA_MINIO" >&2; exit 1; }

# A Debian with Python where the public image has it, and with this machine's certificate authorities.
make_base() {
  command -v mmdebstrap > /dev/null || { echo "$base is absent, and so is mmdebstrap to make it" >&2; exit 1; }
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-venv \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='copy-in /usr/local/share/ca-certificates /usr/local/share' \
    --customize-hook='chroot "$1" update-ca-certificates' \
    --customize-hook='chroot "$1" python3 -m venv /usr/local' bookworm - |
    docker import -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' -c 'ENV LANG=C.UTF-8' - "$base"
}

build() {
  docker build -q --network "${BOVEDA_BUILD_NETWORK:-default}" --build-arg "PYTHON_IMAGE=$base" -t "boveda-stand-in/$1:1" "$2"
}

{
  docker image inspect "$base" > /dev/null 2>&1 || make_base
  for image in redis postgres nginx; do build "$image" "$here/$image"; done
  context=$(mktemp -d)
  trap 'rm -r "$context"' EXIT
  cp "$here/minio/Dockerfile" "$here/minio/silo" "$context/"
  install -m 0755 "$minio" "$context/minio"
  build minio "$context"
} >&2
for image in minio redis postgres nginx; do
  echo "export $(echo "$image" | tr '[:lower:]' '[:upper:]')_IMAGE=boveda-stand-in/$image:1"
done
