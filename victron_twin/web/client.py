"""The data plane of a running service, as commands ask it: each call blocks."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import orjson

#: How long the service may take to answer, in s.
PATIENCE = 10.0


class Trouble(Exception):
    """What cannot be done, in one line."""


class Unreachable(Trouble):
    """Nobody answers."""


class Plane:
    """The data plane of the running service, for one thing."""

    def __init__(self, url: str, thing: str, token_file: Path) -> None:
        self._url = url.rstrip("/")
        self._thing = thing
        self._token_file = token_file
        # A proxy has nothing to do with this machine's own service.
        self._opener = build_opener(ProxyHandler({}))

    def get(self, name: str) -> dict[str, Any]:
        """The document. Raises Trouble."""
        return self._ask(self._path(name))

    def update(self, name: str, request: Mapping[str, Any]) -> None:
        """Raises Trouble."""
        self._ask(self._path(name), {**request, "clientToken": f"shadow-set-{uuid.uuid4().hex[:8]}"})

    def commands(self, mode: str | None = None) -> str:
        """What the cloud may do; ``off`` or ``on`` switches that first. Raises Trouble."""
        return str(self._ask("/api/commands/mode", None if mode is None else {"mode": mode})["mode"])

    def _path(self, name: str) -> str:
        return f"/things/{quote(self._thing, safe='')}/shadow?name={quote(name, safe='')}"

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        request = Request(self._url + path, None if body is None else orjson.dumps(body))
        why = ""
        if body is not None:
            try:
                request.add_header("Authorization", f"Bearer {self._token_file.read_text().strip()}")
            except OSError as error:
                why = f" ({error.strerror})"
        try:
            with self._opener.open(request, timeout=PATIENCE) as answer:
                read: dict[str, Any] = json.load(answer)
                return read
        except HTTPError as error:
            raise Trouble(self._refusal(error, why)) from None
        except (URLError, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
            raise Unreachable(
                f"no service answers at {self._url} ({text.lower()}): is it running? --url says where"
            ) from None
        except ValueError:
            raise Trouble(f"what answers at {self._url} is not the service: --url says where it is") from None

    def _refusal(self, error: HTTPError, why: str) -> str:
        try:
            message = str(json.load(error)["message"])
        except (ValueError, KeyError, TypeError):
            message = f"status {error.code}"
        if error.code == 401:
            return f"the service wants the token in its state folder, not what {self._token_file} has{why}: --state-dir"
        if error.code == 404:
            names = self._names()
            return f"{message}; there is {', '.join(names)}" if names else f"{message}; thing {self._thing} has none"
        return f"the service refuses: {message}"

    def _names(self) -> list[str]:
        try:
            found = self._ask(f"/api/things/shadow/ListNamedShadowsForThing/{quote(self._thing, safe='')}?pageSize=100")
        except Trouble:
            return []
        return list(found["results"])


def url_of(endpoint: str) -> str:
    """``tcp:8480:interface=127.0.0.1`` as a URL. Raises Trouble for what is no TCP."""
    port = re.match(r"tcp6?:(?:port=)?(\d+)", endpoint)
    if port is None:
        raise Trouble(f"the service listens at {endpoint}: say with --url how it is reached")
    named = re.search(r"(?<!\\):interface=((?:\\.|[^:\\])+)", endpoint)
    host = re.sub(r"\\(.)", r"\1", named[1]) if named else "0.0.0.0"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port[1]}" if ":" in host else f"http://{host}:{port[1]}"
