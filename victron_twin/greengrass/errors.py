"""What can go wrong with a call to the nucleus, in one exception."""

from __future__ import annotations

from enum import Enum


class Problem(Enum):
    """Why a call failed. What each asks for is said by who made the call."""

    UNAUTHORIZED = "unauthorized"  #: the accessControl of the component does not allow it
    NOT_FOUND = "not found"
    CONFLICT = "conflict"  #: a version that is not the current one
    INVALID = "invalid"  #: the same call will never be accepted
    THROTTLED = "throttled"  #: too many requests; the same call may be accepted later
    SERVICE = "service"  #: whoever is behind the nucleus failed
    UNREACHABLE = "unreachable"  #: there is no connection, or it was lost before the answer came
    TIMEOUT = "timeout"  #: no answer in time; what became of the call is not known
    UNSUPPORTED = "unsupported"  #: the nucleus does not know the operation, or the component behind it is not there


class IpcError(Exception):
    """A call to the nucleus failed. ``message`` is in the nucleus's words, where it gave any."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem = problem
        self.message = message
