"""Asks a resource without a socket: the real HTTP client and server, joined in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Client:
    """``Client(resource).ask("GET", "/path")``; nothing that answers later than at once can be asked."""

    def __init__(self, resource: IResource) -> None:
        self._treq = cast("Any", StubTreq)(resource)  # treq's are untyped

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Answer:
        response = self._now(self._treq.request(method, f"http://localhost:8480{path}", data=body, headers=headers))
        content = self._now(response.content())
        pairs = response.headers.getAllRawHeaders()
        return Answer(response.code, {k.decode().lower(): v[0].decode() for k, v in pairs}, content)

    def _now(self, deferred: Deferred[Any]) -> Any:
        results: list[Any] = []
        deferred.addBoth(results.append)
        self._treq.flush()
        (result,) = results
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result
