"""What the SDK's errors mean."""

from __future__ import annotations

import pytest

from tests.greengrass.bench import needs_sdk
from victron_twin.greengrass.errors import Problem, from_sdk


class ServiceError(Exception):
    """As the SDK's: its text is in an attribute."""

    message: str | None = None


def test_an_error_without_a_text_is_called_by_its_name() -> None:
    assert from_sdk(ServiceError()).message == "ServiceError"
    assert from_sdk(KeyError()).message == "KeyError"


def test_what_could_not_be_read_is_not_told() -> None:
    assert from_sdk(RuntimeError("no GetSecretValueResponse", b"the secret")).message == (
        "RuntimeError: no GetSecretValueResponse"
    )


def test_too_many_requests_are_told_by_their_words() -> None:
    error = ServiceError()
    error.message = "Too Many Requests"
    assert from_sdk(error).problem is Problem.THROTTLED
    error.message = "Internal service failure"
    assert from_sdk(error).problem is Problem.SERVICE


@needs_sdk
def test_the_names_are_those_of_the_sdk() -> None:
    from awscrt.exceptions import AwsCrtError  # type: ignore[import-untyped]  # it has no types
    from awsiot import eventstreamrpc  # type: ignore[import-untyped]  # it has no types
    from awsiot.greengrasscoreipc import model  # type: ignore[import-untyped]  # it has no types

    for error, problem in (
        (model.UnauthorizedError(message="m"), Problem.UNAUTHORIZED),
        (model.ResourceNotFoundError(message="m"), Problem.NOT_FOUND),
        (model.ComponentNotFoundError(message="m"), Problem.NOT_FOUND),
        (model.ConflictError(message="m"), Problem.CONFLICT),
        (model.FailedUpdateConditionCheckError(message="m"), Problem.INVALID),
        (model.InvalidArgumentsError(message="m"), Problem.INVALID),
        (model.ServiceError(message="m"), Problem.SERVICE),
        (eventstreamrpc.ConnectionClosedError("m"), Problem.UNREACHABLE),
        (AwsCrtError(1051, "AWS_IO_SOCKET_CLOSED", "m"), Problem.UNREACHABLE),
    ):
        found = from_sdk(error)
        assert (found.problem, found.message) == (problem, "m")
    for error, problem in (
        (eventstreamrpc.StreamClosedError(), Problem.UNSUPPORTED),
        (eventstreamrpc.SerializeError("m"), Problem.SERVICE),
        (eventstreamrpc.UnmappedDataError("m"), Problem.SERVICE),
        (TypeError("m"), Problem.INVALID),
    ):
        assert from_sdk(error).problem is problem


@pytest.mark.parametrize("problem", Problem)
def test_each_problem_has_words(problem: Problem) -> None:
    assert problem.value
