"""The HTTP API of AWS IoT's data plane over a shadow backend, close enough for its clients to work unchanged.

``GET``, ``POST`` and ``DELETE /things/{thing}/shadow?name={shadow}`` (the classic shadow without ``name``), and
``GET /api/things/shadow/ListNamedShadowsForThing/{thing}?pageSize=&nextToken=``. Who may ask is decided before, in
:mod:`victron_twin.web.access`.
"""

from __future__ import annotations

import base64
import binascii
import bisect
from collections.abc import Awaitable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource, getChildForRequest
from twisted.web.server import Request
from werkzeug.exceptions import NotFound

from victron_twin.shadows.backend import CLASSIC, ShadowBackend, ShadowError
from victron_twin.twin import shadow as rules
from victron_twin.twin.shadow import Refused

from .body import MAX_BODY
from .errors import refuse

PATHS = (b"/things/", b"/api/things/")
PAGE_SIZE = 25
MAX_PAGE_SIZE = 100


class DataPlane:
    """The routes. ``clock`` gives the time of a list's answer (epoch, s)."""

    app = Klein()
    _log = Logger()

    def __init__(self, backend: ShadowBackend, clock: IReactorTime) -> None:
        self._backend = backend
        self._clock = clock

    def beside(self, others: IResource) -> IResource:
        """One resource: the data plane's paths here, all else there."""
        return _Beside(self.app.resource(), others)

    @app.route("/things/<thing>/shadow")
    async def shadow(self, request: Request, thing: str) -> bytes:
        return await self._answer(request, self._shadow(request, thing))

    @app.route("/api/things/shadow/ListNamedShadowsForThing/<thing>")
    async def names(self, request: Request, thing: str) -> bytes:
        return await self._answer(request, self._names(request, thing))

    @app.handle_errors(NotFound)
    def no_such_path(self, request: IRequest, failure: Failure) -> bytes:
        return refuse(request, 404, "No operation has this path")

    async def _answer(self, request: Request, operation: Awaitable[Any]) -> bytes:
        try:
            body = rules.compact(await operation)
        except (ShadowError, Refused) as error:
            return refuse(request, error.code, error.message)
        except CancelledError:
            # The client has gone.
            raise
        except Exception:  # noqa: BLE001 - a client of AWS expects an answer in AWS's form for this too
            self._log.failure("a request to the data plane failed")
            return refuse(request, 500, "Internal service failure")
        request.setHeader("Content-Type", "application/json")
        return body

    async def _shadow(self, request: Request, thing: str) -> Any:
        query = _query(request)
        name = query.get("name", CLASSIC)
        if name == CLASSIC and "name" in query:
            raise Refused(400, "Invalid name: it must have at least one character; the classic shadow goes without it")
        if request.method == b"GET":
            return await self._backend.get(thing, name)
        if request.method == b"DELETE":
            return await self._backend.delete(thing, name)
        if request.method != b"POST":
            raise _not_allowed(request, "GET, POST, DELETE")
        body = b"" if request.content is None else request.content.read(MAX_BODY + 1)
        if len(body) > MAX_BODY:
            raise Refused(413, "The payload exceeds the maximum size allowed")
        update = rules.parse(body)
        rules.read(update)
        return await self._backend.update(thing, name, update)

    async def _names(self, request: Request, thing: str) -> Any:
        if request.method != b"GET":
            raise _not_allowed(request, "GET")
        query = _query(request)
        size = _page_size(query.get("pageSize", str(PAGE_SIZE)))
        after = _name_in(query["nextToken"]) if "nextToken" in query else ""
        names = await self._backend.named_shadows(thing)
        rest = names[bisect.bisect_right(names, after) :]
        answer: dict[str, Any] = {"results": rest[:size], "timestamp": int(self._clock.seconds())}
        if len(rest) > size:
            answer["nextToken"] = base64.urlsafe_b64encode(rest[size - 1].encode()).decode()
        return answer


class _Beside(Resource):
    isLeaf = True

    def __init__(self, plane: IResource, others: IResource) -> None:
        super().__init__()
        self._plane = plane
        self._others = others

    def render(self, request: Request) -> Any:
        resource = self._plane if request.path.startswith(PATHS) else self._others
        return getChildForRequest(resource, request).render(request)


def _query(request: Request) -> dict[str, str]:
    """The query alone: ``request.args`` may hold a body's fields too."""
    return dict(parse_qsl(urlsplit(request.uri.decode("ascii", "replace")).query, keep_blank_values=True))


def _not_allowed(request: Request, allowed: str) -> Refused:
    request.setHeader("Allow", allowed)
    return Refused(405, "The specified combination of HTTP verb and URI is not supported")


def _page_size(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MAX_PAGE_SIZE:
        return int(text)
    raise Refused(400, f"Invalid pageSize: it must be 1 to {MAX_PAGE_SIZE}")


def _name_in(token: str) -> str:
    """The last name of the page before: pages stay right while shadows come and go."""
    try:
        name = base64.urlsafe_b64decode(token.encode("ascii")).decode()
    except (binascii.Error, ValueError):
        name = ""
    if not rules.SHADOW_NAME.fullmatch(name):
        raise Refused(400, "Invalid nextToken")
    return name
