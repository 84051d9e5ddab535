"""Write the tables of configuration keys into README.md and docs/configuration.md, from the keys themselves.

``python scripts/config_tables.py`` rewrites what stands between the markers; a test says when it is due.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from victron_twin.config import forms
from victron_twin.config.keys import KEYS, SECURITY, Key

ROOT = Path(__file__).parent.parent


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def default(key: Key) -> str:
    if key.default_text:
        return key.default_text
    if key.default in (None, (), False):
        return ""
    if key.form is forms.SECONDS:
        return f"{key.default:g} s"
    return code(str(key.default))


def name(key: Key, spelling: str) -> str:
    """A spelling that holds another unit than the key says so."""
    return code(spelling) + (" (ms)" if key.names[spelling] is forms.MILLISECONDS else "")


def option(key: Key) -> str:
    return code(key.option and f"--{key.option}")


def table(*rows: Iterable[str]) -> str:
    head, *body = map(list, rows)
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("|".join(["", *(f" {cell} " if cell else " " for cell in line), ""]) for line in lines)


def readme() -> str:
    """What most people set, and where: the keys that have a name in the environment."""
    rows = [(name(key, key.env), option(key), code(key.name), default(key)) for key in KEYS if key.env]
    return table(("environment", "option", "in the file", "default"), *rows)


def reference() -> str:
    """Every key with all its names."""
    rows = []
    for key in (*KEYS, *SECURITY):
        also = ", ".join(name(key, spelling) for spelling in (key.env, *key.mission) if spelling)
        rows.append((code(key.name), key.help, key.form.allowed, default(key), also, option(key)))
    return table(("key", "what it is", "its value", "default", "also", "option"), *rows)


TABLES: Mapping[str, str] = {"README.md": readme(), "docs/configuration.md": reference()}


def written(document: str, content: str) -> str:
    """The document with the content between its markers."""
    start, end = "<!-- keys -->\n", "\n<!-- end of keys -->"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(document):
        raise ValueError("the markers are missing")
    return pattern.sub(lambda _: start + content + end, document)


if __name__ == "__main__":
    for document, content in TABLES.items():
        file = ROOT / document
        file.write_text(written(file.read_text(), content))
