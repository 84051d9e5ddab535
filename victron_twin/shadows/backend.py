"""What every keeper of shadows offers: Shadow Manager, AWS IoT Core, or our own embedded store.

The words are the AWS IoT Device Shadow service's. A *document* is what ``GetThingShadow`` answers:
``{"state": {"desired"?, "reported"?, "delta"?}, "metadata": ..., "version": int, "timestamp": int}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from twisted.internet.defer import Deferred

Document = dict[str, Any]


def nothing() -> None:
    """What is done about missed deltas by those who need not know."""


#: The name of the classic (unnamed) shadow.
CLASSIC = ""


class ShadowError(Exception):
    """A backend said no, or did not answer. ``code`` is the data plane's HTTP status."""

    code = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(ShadowError):
    """The request is malformed; the same request will never be accepted."""

    code = 400


class Unauthorized(ShadowError):
    """The caller may not do this: a policy or an access control entry is missing."""

    code = 403


class NotFound(ShadowError):
    """No such shadow."""

    code = 404


class Conflict(ShadowError):
    """The version that was supplied is not the shadow's."""

    code = 409


class TooLarge(ShadowError):
    """The payload or the resulting document is over the backend's limit."""

    code = 413


class Throttled(ShadowError):
    """Too many requests; the same one may be accepted later."""

    code = 429


class Unavailable(ShadowError):
    """The backend cannot be reached or did not answer in time; what became of the request is not known."""

    code = 503


#: The error of each code of the shadow service.
ERRORS: Mapping[int, type[ShadowError]] = {
    401: Unauthorized,
    **{kind.code: kind for kind in (InvalidRequest, Unauthorized, NotFound, Conflict, TooLarge, Throttled)},
}


@dataclass(frozen=True, slots=True)
class Delta:
    """Desired differs from reported: at an accepted update while a difference exists."""

    thing: str
    shadow: str
    state: Mapping[str, Any]
    version: int
    client_token: str = ""  #: of the update that made it, where it had one


class ShadowBackend(Protocol):
    """One keeper of shadows. Every Deferred fails with a :class:`ShadowError` and nothing else."""

    name: str
    #: Compact JSON of reported that it takes for sure, in bytes.
    reported_limit: int
    #: What it acknowledges is in the cloud.
    is_cloud: bool
    #: How long nothing else may be written before and after a delete, in s: what merges updates on their way to the
    #: cloud loses a null among them.
    quiet: float

    def start(self) -> Deferred[None]:
        """Open; fires when requests can be made (which may then still fail as Unavailable)."""

    def stop(self) -> Deferred[None]:
        """Close; requests under way have ended when this fires."""

    def get(self, thing: str, shadow: str) -> Deferred[Document]:
        """The document of a shadow. Fails with NotFound where there is none."""

    def update(self, thing: str, shadow: str, request: Mapping[str, Any]) -> Deferred[Document]:
        """Merge ``{"state": {...}, "version"?: int, "clientToken"?: str}``.

        The answer holds ``state`` (what was sent), ``metadata``, ``version``, ``timestamp``, and ``clientToken``
        if one was sent.
        """

    def delete(self, thing: str, shadow: str) -> Deferred[Document]:
        """Remove a shadow; the answer is ``{"version": int, "timestamp": int}``. NotFound where there is none."""

    def named_shadows(self, thing: str) -> Deferred[list[str]]:
        """The names of the thing's named shadows, sorted."""

    def watch(self, listener: Callable[[Delta], None], missed: Callable[[], None] = nothing) -> Callable[[], None]:
        """Call the listener at each delta; what is returned ends that. Deltas can come twice or out of order.

        ``missed`` is called when the way to the backend is there again after it was lost: deltas may have been missed,
        and every shadow is to be read.
        """


@runtime_checkable
class Messenger(Protocol):
    """What a backend offers beside shadows that reaches AWS IoT Core."""

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        """At least once; fires when AWS IoT Core has acknowledged it, under Greengrass when the nucleus has taken it
        over, which tells no more. Fails with a :class:`ShadowError` and nothing else.
        """
