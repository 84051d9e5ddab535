#!/bin/sh
# Make a virtual environment unless it is there and up to date: venv.sh FOLDER newest|oldest PIP-ARGUMENT...
set -eu
cd "$(dirname "$0")/.."

folder=$1
python=$(sh scripts/python.sh "$2")
shift 2
log=.cache/${folder#.}.log
version=$("$python" -c 'import platform; print(platform.python_version())')

# All that the environment is made of; the folder too, because the paths in it are absolute.
made_of="$PWD $python $version $* $(cat setup.cfg pyproject.toml tests/lowest.txt | cksum)"
if [ -x "$folder/bin/python" ] && [ "$made_of" = "$(cat "$folder/made-of" 2>/dev/null)" ]; then
    exit 0
fi

failed() {
    tail -n 20 "$log"
    echo "Setting up failed at this step; the whole log is in $log."
    exit 1
} >&2

mkdir -p .cache
echo "Making a virtual environment with Python $version in $folder ..."
rm -rf "$folder"
"$python" -m venv "$folder" >"$log" 2>&1 || failed
echo "Installing into it what is needed ..."
if [ -n "${CI:-}" ]; then # it takes a quarter of pip's time
    "$folder/bin/python" -m pip install --disable-pip-version-check uv >>"$log" 2>&1 || failed
    "$folder/bin/uv" pip install --python "$folder/bin/python" "$@" >>"$log" 2>&1 || failed
else
    "$folder/bin/python" -m pip install --disable-pip-version-check "$@" >>"$log" 2>&1 || failed
fi
printf '%s\n' "$made_of" >"$folder/made-of"
