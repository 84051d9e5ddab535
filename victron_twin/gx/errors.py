"""What can go wrong between us and a GX, by name; each text says what happened and, where there is one, the remedy."""

from __future__ import annotations

from typing import ClassVar


class LinkError(Exception):
    """The link to a GX could not be made, or had to be given up."""


class Unresolvable(LinkError):
    """The configured host name has no address."""


class Unreachable(LinkError):
    """There is no TCP connection: refused, or no way there."""


class ConnectTimeout(LinkError):
    """No TCP connection in time."""


class HandshakeTimeout(LinkError):
    """TCP is there, but the TLS handshake did not end in time."""


class HandshakeFailed(LinkError):
    """The TLS handshake broke off, for another reason than the peer's certificate."""


class CertificateRejected(LinkError):
    """The peer's certificate is not one that the trust policy accepts."""


class CertificateChanged(CertificateRejected):
    """The peer shows another certificate than the one that was pinned."""


class PinStoreError(LinkError):
    """The file of pinned certificates cannot be read or written."""


class TrustError(LinkError):
    """What the trust policy needs (a file of authorities) is not there or of no use."""


class LoginTimeout(LinkError):
    """Connected (with TLS, if any), but the broker did not answer the login in time."""


class LoginCut(LinkError):
    """The broker closed the connection instead of answering the login."""


class ProtocolError(LinkError):
    """The peer sent what is not MQTT 3.1.1, or not in its place; the text says what."""


class PingTimeout(LinkError):
    """The broker did not answer a ping: the link is dead although nobody closed it."""


class SubscribeRefused(LinkError):
    """The broker refused a subscription."""


class Refused(LinkError):
    """The broker answered the login with a refusal; ``code`` is that of its CONNACK."""

    MEANING: ClassVar[dict[int, str]] = {
        1: "unacceptable protocol version",
        2: "client identifier rejected",
        3: "server unavailable",
        4: "bad user name or password",
        5: "not authorised",
    }

    def __init__(self, code: int, remedy: str = "") -> None:
        meaning = self.MEANING.get(code, "unknown reason")
        super().__init__(f"the broker refused the connection: {meaning} (CONNACK {code}){remedy}")
        self.code = code


class LoginRefused(Refused):
    """User name or password are wrong, or there is no password where one is needed."""

    CODES = (4, 5)

    def __init__(self, code: int) -> None:
        super().__init__(code, "; is gx.password (VICTRON_MQTT_PASSWORD) that of the GX's security profile?")


def refusal(code: int) -> Refused:
    """The error for a CONNACK's code, which is not 0."""
    return LoginRefused(code) if code in LoginRefused.CODES else Refused(code)
