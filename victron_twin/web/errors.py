"""How a refusal looks: the form of the AWS services, from which their clients make their exceptions."""

from __future__ import annotations

from twisted.web.iweb import IRequest

from victron_twin.twin.shadow import compact

#: The names that the iot-data API gives the status codes.
NAMES = {
    400: "InvalidRequestException",
    401: "UnauthorizedException",
    403: "ForbiddenException",
    404: "ResourceNotFoundException",
    405: "MethodNotAllowedException",
    409: "ConflictException",
    413: "RequestEntityTooLargeException",
    415: "UnsupportedDocumentEncodingException",
    429: "ThrottlingException",
    500: "InternalFailureException",
    503: "ServiceUnavailableException",
}


def refuse(request: IRequest, code: int, message: str) -> bytes:
    """Set status and headers; the body is what a route returns."""
    request.setResponseCode(code)
    request.setHeader("Content-Type", "application/json")
    request.setHeader("x-amzn-ErrorType", NAMES[code])
    return compact({"message": message})
