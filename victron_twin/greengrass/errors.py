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


#: By the names of the SDK's classes, so that this module does not need the SDK.
_PROBLEMS = {
    "UnauthorizedError": Problem.UNAUTHORIZED,
    "ResourceNotFoundError": Problem.NOT_FOUND,
    "ComponentNotFoundError": Problem.NOT_FOUND,
    "ConflictError": Problem.CONFLICT,
    "InvalidArgumentsError": Problem.INVALID,
    "FailedUpdateConditionCheckError": Problem.INVALID,
    "ServiceError": Problem.SERVICE,
    "ConnectionClosedError": Problem.UNREACHABLE,
    "AwsCrtError": Problem.UNREACHABLE,
    "StreamClosedError": Problem.UNSUPPORTED,
}
_TOO_MANY = "too many requests"


def from_sdk(error: BaseException) -> IpcError:
    """What an error of the SDK means; a closed stream is taken as one on a connection that lives on."""
    name = type(error).__name__
    # The text of a modelled error is in its message alone: str() of it is empty.
    message = str(getattr(error, "message", None) or str(error) or name)
    problem = _PROBLEMS.get(name)
    if problem is Problem.SERVICE and _TOO_MANY in message.lower():
        problem = Problem.THROTTLED
    elif problem is Problem.UNSUPPORTED:
        message = "the nucleus closed the stream without an answer: the operation is not there"
    elif problem is None:  # an argument that the SDK does not take, or an answer that it cannot read
        problem = Problem.INVALID if isinstance(error, TypeError | AttributeError | ValueError) else Problem.SERVICE
        # Its other arguments are what was read, in full: it may be a secret.
        message = ": ".join([name, *map(str, error.args[:1])])
    return IpcError(problem, message)
