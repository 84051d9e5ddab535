"""The local web server: page, health, metrics, live stream, schemas; the data plane is mounted beside them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import orjson
from klein import Klein
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.server import Request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from victron_twin.commands.audit import MOST_STEPS
from victron_twin.commands.service import CommandService
from victron_twin.health import Health

from .body import MAX_BODY
from .errors import refuse
from .live import Live

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}

#: The page loads nothing from elsewhere, runs nothing inline, and is asked for anew after an update of the service.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Pages:
    """The routes that read, and the switch of commands."""

    app = Klein()

    def __init__(
        self,
        health: Health,
        registry: CollectorRegistry,
        live: Live,
        schemas: Mapping[str, Any],
        commands: CommandService,
        open_to_all: bool = False,
    ) -> None:
        """``open_to_all``: what changes something needs no token; :class:`~.access.Access` sees to that."""
        self._health = health
        self._registry = registry
        self._live = live
        self._commands = commands
        self._open = open_to_all
        self._schemas = {f"{name}.json": schema for name, schema in schemas.items()}
        self._static = {entry.name: entry.read_bytes() for entry in files(__package__).joinpath("static").iterdir()}

    @app.route("/", methods=["GET"])
    def page(self, request: Request) -> bytes:
        return self.static(request, "index.html")

    @app.route("/static/<name>", methods=["GET"])
    def static(self, request: Request, name: str) -> bytes:
        if name not in self._static:
            return refuse(request, 404, "No file of the page has this name")
        for header, value in PAGE_HEADERS.items():
            request.setHeader(header, value)
        return _answer(request, TYPES[name.rpartition(".")[2]], self._static[name])

    @app.route("/health", methods=["GET"])
    def health(self, request: Request) -> bytes:
        if not self._health.healthy():
            request.setResponseCode(503)
        return _answer(request, "application/json", orjson.dumps(self._health.report()))

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: Request) -> bytes:
        return _answer(request, CONTENT_TYPE_LATEST, generate_latest(self._registry))

    @app.route("/events", methods=["GET"])
    def events(self, request: Request) -> Deferred[bytes] | bytes:
        if request.method == b"HEAD":
            return _answer(request, "text/event-stream", b"")
        return self._live.follow(request) or refuse(request, 503, "Too many pages follow already")

    @app.route("/schema/<name>", methods=["GET"])
    def schema(self, request: Request, name: str) -> bytes:
        if name not in self._schemas:
            return refuse(request, 404, f"No schema has this name; there are {', '.join(sorted(self._schemas))}")
        schema = orjson.dumps(self._schemas[name], option=orjson.OPT_INDENT_2)
        return _answer(request, "application/schema+json", schema)

    @app.route("/api/commands", methods=["GET"])
    async def commands(self, request: Request) -> bytes:
        """The audit log, newest first."""
        limit = (request.args or {}).get(b"limit", [b"100"])[0]
        if not (limit.isdigit() and len(limit) < 9 and 1 <= int(limit) <= MOST_STEPS):
            return refuse(request, 400, f"Invalid limit: it must be 1 to {MOST_STEPS}")
        return _answer(request, "application/json", orjson.dumps(await self._commands.journal.steps(int(limit))))

    @app.route("/api/commands/mode", methods=["GET"])
    def mode(self, request: Request) -> bytes:
        """What the cloud may do now, and whether switching it needs the token."""
        return self._mode(request)

    @app.route("/api/commands/mode", methods=["POST"])
    def switch(self, request: Request) -> bytes:
        """The emergency off, and on again: ``{"mode": "off"}``, ``{"mode": "on"}``."""
        try:
            asked = orjson.loads(request.content.read(MAX_BODY + 1)) if request.content is not None else None
        except ValueError:
            asked = None
        if not isinstance(asked, dict) or asked.get("mode") not in ("off", "on"):
            return refuse(request, 400, 'Invalid mode: send {"mode": "off"} or {"mode": "on"}')
        client = request.getClientAddress()
        problem = self._commands.switch(asked["mode"] == "off", f"HTTP, {getattr(client, 'host', 'local')}")
        if problem:
            return refuse(request, 500, problem)
        return self._mode(request)

    def _mode(self, request: Request) -> bytes:
        state = {"mode": self._commands.mode, "token": not self._open}
        return _answer(request, "application/json", orjson.dumps(state))

    @app.handle_errors(NotFound)
    def no_such_path(self, request: IRequest, failure: Failure) -> bytes:
        return refuse(request, 404, "Nothing has this path")

    @app.handle_errors(MethodNotAllowed)
    def only_read(self, request: IRequest, failure: Failure) -> bytes:
        request.setHeader("Allow", "GET, HEAD")
        return refuse(request, 405, "This can only be read")


def _answer(request: Request, content_type: str, body: bytes) -> bytes:
    """What a route returns, with its type."""
    request.setHeader("Content-Type", content_type)
    return body
