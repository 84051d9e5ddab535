"""The operations on shadows, as Shadow Manager serves them over the nucleus' socket."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

from twisted.internet.interfaces import IReactorTime

from . import access
from .access import Access
from .cloud import prefix
from .connection import Body, Failed, Stream
from .shadow_manager import Refused, ShadowManager

DEFAULT_PAGE, MAX_PAGE = 25, 100
TOO_MANY = "Too Many Requests"


class ShadowOperations:
    """``rates_exceeded`` counts the requests that came too fast."""

    def __init__(self, clock: IReactorTime, manager: ShadowManager, access: Access) -> None:
        self._clock = clock
        self._manager = manager
        self._access = access
        self.rates_exceeded = 0

    def get(self, stream: Stream, request: Body) -> Body:
        return _answer(self._do(stream, request, self._manager.get))

    def update(self, stream: Stream, request: Body) -> Body:
        payload = b64decode(request.get("payload") or "")
        return _answer(self._do(stream, request, self._manager.update, payload))

    def delete(self, stream: Stream, request: Body) -> Body:
        self._do(stream, request, self._manager.delete)
        return {"payload": ""}

    def names(self, stream: Stream, request: Body) -> Body:
        """A page of names. There is a token for the next one whenever this one is full, even if nothing follows."""
        thing = _text(request, "thingName")
        self._access.check(access.SHADOWS, stream.operation, thing)
        size = request.get("pageSize") or DEFAULT_PAGE
        if not 1 <= size <= MAX_PAGE:
            raise Failed("InvalidArgumentsError", f"pageSize argument must be between 1 and {MAX_PAGE}")
        start = 0
        if token := request.get("nextToken"):
            try:
                start = int(b64decode(token).decode().removeprefix(f"{thing} "))
            except ValueError:
                raise Failed("InvalidArgumentsError", "Invalid nextToken argument") from None
        names = self._refused(self._manager.named, thing)[start : start + size]
        answer = {"results": names, "timestamp": self._clock.seconds()}
        if len(names) == size:
            answer["nextToken"] = b64encode(f"{thing} {start + size}".encode()).decode()
        return answer

    def _do(self, stream: Stream, request: Body, function: Any, *arguments: Any) -> Any:
        thing, shadow = _text(request, "thingName"), request.get("shadowName") or ""
        self._access.check(access.SHADOWS, stream.operation, prefix(thing, shadow))
        return self._refused(function, thing, shadow, *arguments)

    def _refused(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Refused as refused:
            self.rates_exceeded += refused.message == TOO_MANY
            raise Failed(refused.error, refused.message) from refused


def _text(request: Body, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise Failed("InvalidArgumentsError", f"{key} is missing")
    return value


def _answer(document: Any) -> Body:
    return {"payload": b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()}
