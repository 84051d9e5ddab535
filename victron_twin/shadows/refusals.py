"""What the nucleus's errors mean for a shadow, and what is to be done about each."""

from __future__ import annotations

from victron_twin.greengrass.errors import IpcError, Problem

from .backend import Conflict, InvalidRequest, NotFound, ShadowError, Throttled, TooLarge, Unauthorized, Unavailable

SHADOW_MANAGER = "aws.greengrass.ShadowManager"
PUBSUB = "aws.greengrass.ipc.pubsub"
MQTT_PROXY = "aws.greengrass.ipc.mqttproxy"

_KINDS: dict[Problem, type[ShadowError]] = {
    Problem.NOT_FOUND: NotFound,
    Problem.CONFLICT: Conflict,
    Problem.INVALID: InvalidRequest,
    Problem.THROTTLED: Throttled,
    Problem.UNREACHABLE: Unavailable,
    Problem.TIMEOUT: Unavailable,
    Problem.UNSUPPORTED: Unavailable,
}


#: What the MQTT proxy tells in its own words; the rest is that nobody is reached.
_TOLD = (Problem.UNAUTHORIZED, Problem.THROTTLED, Problem.INVALID)


def refusal(error: IpcError, service: str, operation: str, resource: str) -> ShadowError:
    """``operation`` is the nucleus's name ("GetThingShadow"), ``resource`` what the access control calls the thing."""
    if error.problem is Problem.UNAUTHORIZED:
        return Unauthorized(
            f"Greengrass does not allow aws.greengrass#{operation} on {resource}: add both to accessControl, under "
            f"{service}, in the component's recipe or by a configuration update"
        )
    return _KINDS.get(error.problem, ShadowError)(error.message)


def shadow_refusal(error: IpcError, operation: str, resource: str, versioned: bool = False) -> ShadowError:
    """The same from Shadow Manager, whose errors of one kind mean several things; ``versioned``: a version was sent."""
    if error.problem is Problem.UNSUPPORTED:
        return Unavailable(
            f"Shadow Manager does not answer: deploy {SHADOW_MANAGER}, or set backend = greengrass-mqtt to do without"
        )
    if error.problem is Problem.THROTTLED:
        return Throttled(
            "Shadow Manager has too many requests: raise cadence.normal, or rateLimits in its configuration"
        )
    if error.problem is Problem.CONFLICT:
        return Conflict(f"{resource} was changed by somebody else meanwhile: read it and decide again")
    if error.problem is Problem.INVALID and "maximum size" in error.message:
        return TooLarge(
            f"{resource} would be larger than Shadow Manager takes: exclude fields, "
            "or raise shadowDocumentSizeLimitBytes in its configuration"
        )
    if error.problem is Problem.INVALID and versioned and "version" in error.message.lower():
        # Of a shadow that is not there it takes no version but the first.
        return Conflict(f"{resource} was deleted by somebody else meanwhile: read it and decide again")
    if error.problem in (Problem.INVALID, Problem.SERVICE):
        kind = InvalidRequest if error.problem is Problem.INVALID else ShadowError
        return kind(f"Shadow Manager refused {operation} on {resource}: {error.message}")
    return refusal(error, SHADOW_MANAGER, operation, resource)


def proxy_refusal(error: IpcError, operation: str, topic: str) -> ShadowError:
    """The same from the nucleus' MQTT proxy."""
    if error.problem in _TOLD:
        return refusal(error, MQTT_PROXY, operation, topic)
    return Unavailable(f"the nucleus has no way to the cloud: {error.message}")
