"""The local web server: page, health, metrics, live stream, schemas; the data plane is mounted beside them."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import orjson
from klein import Klein
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from twisted.web.http import Request

from victron_twin.health import Health

from .live import Live

#: The page loads nothing from elsewhere and runs nothing inline.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def answer(request: Request, status: int, body: bytes, content_type: str = "application/json") -> bytes:
    """Set status and type; the body is what a klein route returns."""
    request.setResponseCode(status)
    request.setHeader("Content-Type", content_type)
    return body


class Pages:
    """The routes that only read."""

    app = Klein()

    def __init__(self, health: Health, registry: CollectorRegistry, live: Live, schemas: Mapping[str, Any]) -> None:
        self._health = health
        self._registry = registry
        self._live = live
        self._schemas = schemas
        self._static = {entry.name: entry.read_bytes() for entry in files(__package__).joinpath("static").iterdir()}

    @app.route("/", methods=["GET"])
    def page(self, request: Request) -> bytes:
        return self._file(request, "index.html")

    @app.route("/static/<name>", methods=["GET"])
    def static(self, request: Request, name: str) -> bytes:
        return self._file(request, name)

    def _file(self, request: Request, name: str) -> bytes:
        body = self._static.get(name)
        if body is None:
            return answer(request, 404, b'{"message":"no such file"}')
        for header, value in PAGE_HEADERS.items():
            request.setHeader(header, value)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return answer(request, 200, body, f"{kind}; charset=utf-8")

    @app.route("/health", methods=["GET"])
    def health(self, request: Request) -> bytes:
        return answer(request, 200 if self._health.healthy() else 503, orjson.dumps(self._health.report()))

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: Request) -> bytes:
        return answer(request, 200, generate_latest(self._registry), CONTENT_TYPE_LATEST)

    @app.route("/events", methods=["GET"])
    def events(self, request: Request) -> Any:
        stream = self._live.follow(request)
        return stream or answer(request, 503, b'{"message":"too many pages follow already"}')

    @app.route("/schema/<name>", methods=["GET"])
    def schema(self, request: Request, name: str) -> bytes:
        schema = self._schemas.get(name.removesuffix(".json"))
        if schema is None:
            return answer(
                request, 404, orjson.dumps({"message": f"no schema of that name; there are {sorted(self._schemas)}"})
            )
        return answer(request, 200, orjson.dumps(schema, option=orjson.OPT_INDENT_2), "application/schema+json")
