#!/bin/sh
# What a nucleus runs to install the component: a virtual environment in the work folder, from this bundle alone.
set -eu
bundle=$(dirname "$0")
python=$(sh "$bundle/python.sh" newest)
"$python" -m venv --clear venv
venv/bin/python -m pip install --no-index --find-links "$bundle/wheels" --no-cache-dir --disable-pip-version-check \
    'victron-twin[greengrass]' || {
    echo "$python ($("$python" -c 'import platform; print(platform.python_version())')) is the newest Python here that" \
        "was found; this bundle is for Python $(cat "$bundle/pythons")" >&2
    exit 1
}
# twistd writes its list of plugins once, here.
venv/bin/twistd --help >/dev/null
