#!/bin/sh
# Random credentials for compose/docker-compose.yml, into compose/secrets or the folder that is named. What is there
# already stays: a second run adds what is missing, and changes nothing.
#
# The folder is closed to everybody but its owner. The files in it are readable, because each is mounted alone into the
# containers that need it, whose users have other ids than the owner; nobody else gets past the folder.
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 0700 "$folder"

random() { od -An -v -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

# keep NAME: standard input becomes the file, at once, unless there is one
keep() {
  if [ -e "$folder/$1" ]; then cat > /dev/null; return; fi
  cat > "$folder/.$1.new"
  chmod 0444 "$folder/.$1.new"
  mv "$folder/.$1.new" "$folder/$1"
}

random 24 | keep postgres_password
random 24 | keep redis_password
random 32 | keep passphrase
random 32 | keep admin_token
for node in node1 node2 node3; do
  # An access key id as hard to guess as a key: a known flaw of that server lets its holder write without the secret.
  random 16 | keep "$node.user"
  random 24 | keep "$node.password"
  printf '{"access_key": "%s", "secret_key": "%s"}\n' "$(cat "$folder/$node.user")" "$(cat "$folder/$node.password")" |
    keep "$node.json"
done
printf 'requirepass %s\n' "$(cat "$folder/redis_password")" | keep redis.conf
printf 'redis://:%s@redis:6379/0\n' "$(cat "$folder/redis_password")" | keep boveda_redis_url
printf 'postgresql+psycopg://boveda:%s@postgres:5432/boveda\n' "$(cat "$folder/postgres_password")" | keep boveda_database_url
echo "credentials are in $folder; the API asks for the token in $folder/admin_token"
