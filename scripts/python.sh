#!/bin/sh
# Print the path of the newest (or the oldest) Python here that can run the project,
# or say in one sentence which command brings one: python.sh [newest|oldest].
# python.sh path prints a PATH on which each of them comes first under its own name.
set -eu

versions="3.13 3.12 3.11 3.10"
[ "${1:-newest}" = oldest ] && versions="3.10 3.11 3.12 3.13"
home=${HOME:-/nonexistent}
sudo="sudo "
[ "$(id -u)" = 0 ] && sudo=""

old=
bare=

# Exit status 0 for a Python that will do, with its own path in $python: what lies on PATH may be only pyenv's shim.
# Of others it is kept for the message what is wrong with them.
probe() {
    [ -x "$1" ] || return 1
    said=$("$1" -c '
import sys
print("%d.%d %s" % (sys.version_info[0], sys.version_info[1], sys.executable))
sys.stdout.flush()
if sys.version_info < (3, 10):
    sys.exit(10)
import ensurepip, venv
' 2>/dev/null) && python=${said#* } && return 0
    status=$?
    found=${said%% *}
    if [ "$status" = 10 ]; then
        old=$found
    elif [ -n "$found" ]; then
        bare=$found
    fi
    return 1
}

# pyenv's own folders: the names it puts on PATH start only the versions it was told to.
folders() {
    printf '%s' "$PATH" | tr : '\n'
    printf '\n%s\n' "$home/.local/bin"
    for folder in "${PYENV_ROOT:-$home/.pyenv}"/versions/*/bin; do
        printf '%s\n' "$folder"
    done
}

places=$(folders)

# A Python of this name.
find() {
    while read -r folder; do
        if [ -n "$folder" ] && probe "$folder/$1"; then
            return 0
        fi
    done <<EOF
$places
EOF
    return 1
}

if [ "${1:-}" = path ]; then
    path=$PATH
    for version in $versions; do
        find "python$version" && path="${python%/*}:$path"
    done
    printf '%s\n' "$path"
    exit 0
fi

for version in $versions 3 ""; do
    if find "python$version"; then
        printf '%s\n' "$python"
        exit 0
    fi
done

install() {
    if command -v apt-get >/dev/null; then
        for version in 3.13 3.12 3.11 3.10; do
            if apt-cache show "python$version-venv" >/dev/null 2>&1; then
                echo "${sudo}apt-get install python$version python$version-venv"
                return
            fi
        done
        if ! apt-cache show python3 >/dev/null 2>&1; then
            echo "${sudo}apt-get update && ${sudo}apt-get install python3 python3-venv"
            return
        fi
    elif command -v dnf >/dev/null; then
        echo "${sudo}dnf install python3.12"
        return
    elif command -v brew >/dev/null; then
        echo "brew install python@3.13"
        return
    fi
    echo "curl -LsSf https://astral.sh/uv/install.sh | sh && $home/.local/bin/uv python install 3.13"
}

if [ -n "$bare" ] && command -v apt-get >/dev/null; then
    echo "Python $bare is here but not its venv module; this brings it: ${sudo}apt-get install python$bare-venv" >&2
elif [ -n "$bare" ]; then
    echo "Python $bare is here but not its venv module; this brings another: $(install)" >&2
elif [ -n "$old" ]; then
    echo "Python 3.10 or newer is needed and this machine has $old; this brings one: $(install)" >&2
else
    echo "Python 3.10 or newer is needed and this machine has none; this brings one: $(install)" >&2
fi
exit 1
