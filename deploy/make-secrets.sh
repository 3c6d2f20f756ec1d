#!/bin/sh
# Makes the passwords and tokens that compose.yaml mounts, each at random, and leaves alone those that are there.
set -eu
cd "$(dirname "$0")/secrets"
# The folder shuts out the machine's other users. The files themselves are open, because containers read them as
# separate users.
chmod 700 .
umask 022

random() { LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 32; }

keep() {
    if [ ! -s "$1" ]; then
        printf '%s\n' "$2" >"$1.new"
        mv "$1.new" "$1"
        echo "made secrets/$1"
    fi
}

keep http_token "$(random)"
keep grafana_password "$(random)"
keep pgadmin_password "$(random)"

keep postgres_password "$(random)"
keep pgpass "postgres:5432:*:postgres:$(cat postgres_password)"

keep nats_password "$(random)"
keep nats_auth.conf "user: orderd, password: \"$(cat nats_password)\""
keep nats_url "nats://orderd:$(cat nats_password)@nats:4222"
