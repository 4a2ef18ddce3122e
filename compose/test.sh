#!/bin/bash
# The compose file, run for real: upload, three copies, kill a node, download, upload without it, heal, take all down.
#
#     make compose-test                        with an engine (DOCKER_HOST or the default one) and an image registry
#     BOVEDA_STAND_INS=1 make compose-test     with images made here instead of the public ones (compose/stand-ins)
#
# Project, volumes, ports and credentials are its own: a Bóveda that runs on the same engine is not touched. The engine
# has to be on this machine, since files of the tree are mounted. BOVEDA_COMPOSE_KEEP=1 leaves everything running.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
fail() { say "FAILED: $*" >&2; exit 1; }

command -v docker > /dev/null || fail "there is no docker client"
docker info > /dev/null 2>&1 || fail "no docker engine answers at ${DOCKER_HOST:-the default socket}; start one, or set DOCKER_HOST"
docker compose version > /dev/null 2>&1 || fail "this docker client has no compose v2 plugin"

work=$(mktemp -d)
export COMPOSE_PROJECT_NAME=boveda-test-$$ COMPOSE_FILE=$here/docker-compose.yml BOVEDA_SECRETS=$work/secrets
export BOVEDA_PORT=0 BOVEDA_FLOWER_PORT=0 # the engine picks free ones
cd "$here" # where compose/.env would be read: this run has its own settings
export COMPOSE_DISABLE_ENV_FILE=1

finish() {
  status=$?
  if [ "$status" != 0 ]; then
    docker compose ps -a || true
    docker compose logs --no-color --tail 25 api worker control scrub nginx migrate keys || true
  fi
  if [ -n "${BOVEDA_COMPOSE_KEEP:-}" ]; then
    say "kept: project $COMPOSE_PROJECT_NAME, credentials in $BOVEDA_SECRETS"
  else
    docker compose down -v --timeout 10 > "$work/down.log" 2>&1 || { cat "$work/down.log"; status=1; }
    rm -rf "$work"
  fi
  [ "$status" = 0 ] && say "compose-test: all of it holds"
  exit "$status"
}
trap finish EXIT

# until_true SECONDS WHAT COMMAND...: asks twice a second
until_true() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || fail "$what: not within the time"
    sleep 0.5
  done
}
api() { curl -sS --max-time 60 -H @"$work/header" "$@"; }
status_of() { api -o /dev/null -w '%{http_code}' "$@" || true; }
copies_are() { api -I "$1" | tr -d '\r' | grep -qi "^x-copies: $2\$"; }
is_ready() { [ "$(status_of "$url/readyz")" = 200 ]; }
expect() { [ "$2" = "$3" ] || fail "$1: $2 instead of $3"; }

if [ -n "${BOVEDA_STAND_INS:-}" ]; then
  say "images that stand in for the public ones"
  "$here/stand-ins/build.sh" > "$work/images" || fail "the stand-ins cannot be built"
  # shellcheck disable=SC1091 # written the line before
  . "$work/images"
fi
"$here/secrets.sh" "$BOVEDA_SECRETS" > /dev/null
printf 'Authorization: Bearer %s\n' "$(cat "$BOVEDA_SECRETS/admin_token")" > "$work/header"
head -c 20000000 /dev/urandom > "$work/first"
head -c 70000 /dev/urandom > "$work/second"

say "build and start"
docker compose up -d --build --wait --wait-timeout 420 --quiet-pull > "$work/up.log" 2>&1 ||
  { tail -40 "$work/up.log"; fail "it does not come up"; }
url=http://$(docker compose port nginx 8080)
until_true 60 "ready for uploads" is_ready
say "up at $url"

say "nothing secret is shown by the engine, and only the API's containers hold keys"
# shellcheck disable=SC2046 # ids, one a word
docker inspect $(docker compose ps -aq) > "$work/inspect"
for file in admin_token passphrase postgres_password redis_password node1.password node2.password node3.password; do
  ! grep -qF "$(cat "$BOVEDA_SECRETS/$file")" "$work/inspect" || fail "$file stands in what docker inspect shows"
done
for service in $(docker compose config --services); do
  case $service in api | keys) continue ;; esac
  for id in $(docker compose ps -aq "$service"); do
    docker inspect -f '{{range .Mounts}}{{.Destination}}{{println}}{{end}}' "$id" > "$work/mounts"
    ! grep -qE '^(/keys|/run/secrets/passphrase)$' "$work/mounts" || fail "$service has the keyring or its passphrase"
  done
done

say "the API asks for a token"
expect "list without a token" "$(curl -s -o /dev/null -w '%{http_code}' "$url/v1/buckets")" 401

first=$url/v1/buckets/archivos/objects/a%C3%B1o%2F..%2Fa%20b%2Bc%25.bin
second=$url/v1/buckets/archivos/objects/with-a-node-down
say "upload, then wait for three copies"
expect upload "$(status_of -T "$work/first" "$first")" 201
until_true 60 "three copies" copies_are "$first" 3/3

say "kill a node's container, download"
docker compose kill node1 > /dev/null 2>&1
api -f -o "$work/back" "$first" || fail "the download with a node killed"
cmp "$work/first" "$work/back" || fail "other bytes came back"

say "upload without that node; it gets its copies when it is back"
expect "upload with a node killed" "$(status_of -T "$work/second" "$second")" 201
until_true 60 "two copies" copies_are "$second" 2/3
docker compose up -d --no-deps --no-build node1 > /dev/null 2>&1
until_true 90 "the third copy" copies_are "$second" 3/3
api -f -o "$work/back" "$second" && cmp "$work/second" "$work/back" || fail "the second object"

say "Flower answers"
curl -sS -f -o /dev/null --max-time 20 "http://$(docker compose port flower 5555)/healthcheck" || fail "Flower"
