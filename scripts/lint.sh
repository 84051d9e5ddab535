#!/bin/sh
# Everything that reads the code without running it; the tools are found on PATH.
set -eu
cd "$(dirname "$0")/.."
ruff check .
ruff format --check .
mypy -p victron_twin
mypy tests tools
mypy deploy/build.py deploy/shadow_manager.py deploy/cdk/app.py
