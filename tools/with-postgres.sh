#!/usr/bin/env bash
# Runs a command beside a PostgreSQL server of its own, with PROMPTIST_TEST_POSTGRES set to its URL:
#
#     tools/with-postgres.sh cargo test -p promptist-study
#
# The server's data lies in a temporary folder, it listens on a free port of this machine alone, and both are gone
# when the command ends. PostgreSQL refuses to run as root: then it runs as the user `postgres`, or as
# POSTGRES_USER. Debian and Ubuntu: apt-get install postgresql.
set -euo pipefail

if [ $# -eq 0 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi

bin=${POSTGRES_BIN:-}
if [ -z "$bin" ]; then
    for candidate in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)"; do
        if [ -x "$candidate/initdb" ] && [ -x "$candidate/postgres" ]; then bin=$candidate; fi
    done
fi
if [ -z "$bin" ]; then
    echo "no PostgreSQL server is installed (looked for initdb; POSTGRES_BIN names its folder)" >&2
    exit 1
fi

as_user=()
folder=$(mktemp -d)
if [ "$(id -u)" = 0 ]; then
    user=${POSTGRES_USER:-postgres}
    chown "$user" "$folder"
    as_user=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups)
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

stop() {
    "${as_user[@]}" "$bin/pg_ctl" --pgdata "$folder/data" --mode immediate --wait stop >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap stop EXIT

cd "$folder"
"${as_user[@]}" "$bin/initdb" --pgdata "$folder/data" --username promptist --auth trust --encoding UTF8 \
    --no-sync >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
"${as_user[@]}" "$bin/pg_ctl" --pgdata "$folder/data" --log "$folder/data/log" --wait start \
    --options "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$folder" >/dev/null ||
    { cat "$folder/data/log" >&2; exit 1; }
cd "$OLDPWD"

export PROMPTIST_TEST_POSTGRES="postgres://promptist@127.0.0.1:$port/postgres?sslmode=disable"
"$@"
