#!/bin/sh
# Build the component whose gdk-config.json and recipe.yaml lie in this folder; what `gdk component build` runs.
# Into greengrass-build: the recipe, and a zip for each architecture. --architecture and --python make less of it.
set -eu
deploy=$(cd "$(dirname "$0")" && pwd)
sh "$deploy/../scripts/venv.sh" .venv-build newest 'uv>=0.5'
exec "$deploy/../.venv-build/bin/python" "$deploy/build.py" "$@"
