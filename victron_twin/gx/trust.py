"""Whom we believe to be the GX: TLS policies, each of which fails closed.

A GX shows a certificate that it signed itself, without a subjectAltName: no check of its name can pass, so that the
usual trust is a pin. What a policy rejects is told by a LinkError that it leaves as the TLS connection's ``app_data``,
since OpenSSL forgets what is raised in its callbacks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from victron_twin.gx.errors import CertificateChanged, CertificateRejected, LinkError, TrustError
from victron_twin.gx.pins import Pins

#: Why OpenSSL does not accept a chain, by its error number; the commonest ones in plain words.
CHAIN = {
    9: "it is not valid yet: is the clock here right?",
    10: "it has expired: is the clock here right?",
    18: "it is signed by itself, and not among the authorities that are trusted",
    19: "its chain ends in an authority that is not trusted",
    20: "its issuer is not among the authorities that are trusted",
    21: "its issuer is not among the authorities that are trusted",
}


@dataclass(frozen=True, slots=True)
class Trust:
    """What ``gx.trust`` says: ``detail`` is the fingerprint of a pin (64 hex digits, lower case), the file of a ca."""

    kind: str
    detail: str = ""

    ALLOWED = "tofu, pin:SHA256, ca:FILE, system, insecure or plaintext"

    @classmethod
    def parse(cls, text: str) -> Trust:
        """Raises ValueError, which says what is allowed."""
        kind, colon, detail = text.strip().partition(":")
        if kind in ("tofu", "system", "insecure", "plaintext") and not colon:
            return cls(kind)
        if kind == "ca" and detail:
            return cls(kind, detail)
        if kind == "pin":
            detail = detail.replace(":", "").lower()
            if re.fullmatch("[0-9a-f]{64}", detail):
                return cls(kind, detail)
            raise ValueError(f"{text!r}: a pin is the SHA-256 of the certificate, 64 hex digits, colons allowed")
        raise ValueError(f"{text!r} is no trust: it is {cls.ALLOWED}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.detail}" if self.detail else self.kind


def fingerprint(der: bytes) -> str:
    """The SHA-256 of a certificate's DER, in lower case hex."""
    return hashlib.sha256(der).hexdigest()


def policy(trust: Trust, host: str, port: int, pins: Pins) -> IOpenSSLClientConnectionCreator:
    """Whom to accept as ``host``, for one attempt: pins and files are read now.

    With ``tofu`` and no pin yet, any certificate passes; who logs in successfully then has to remember its pin.

    Raises:
        TrustError: the authorities cannot be read.
        PinStoreError: the pins cannot be read.
        ValueError: for ``plaintext``, which is no TLS.
    """
    peer = f"{host}:{port}"
    if trust.kind == "insecure":
        return _Policy(host, None)
    if trust.kind == "tofu":
        pin = pins.get(host, port)
        if pin is None:
            return _Policy(host, None)
        remedy = (
            f"if the GX was reset or replaced, remove the line of {peer} from {pins.where}, "
            "or set VICTRON_TRUST=pin:{seen}; if not, somebody may stand between you and it"
        )
        return _Policy(host, _pinned(pin, peer, remedy))
    if trust.kind == "pin":
        remedy = (
            "if the GX was reset or replaced, set VICTRON_TRUST=pin:{seen}; "
            "if not, somebody may stand between you and it"
        )
        return _Policy(host, _pinned(trust.detail, peer, remedy))
    if trust.kind == "ca":
        return _Policy(host, _named(host), trustRootFromCertificates(_authorities(Path(trust.detail))))
    if trust.kind == "system":
        return _Policy(host, _named(host), platformTrust())
    raise ValueError(f"{trust} is no TLS")


#: What is wrong with a certificate, if anything: it, OpenSSL's error number, its depth (0: the peer's own).
_Judge = Callable[[x509.Certificate, int, int], LinkError | None]


@implementer(IOpenSSLClientConnectionCreator)
class _Policy:
    """TLS 1.2 or newer to a host, with a judge over its certificates; None accepts them all."""

    def __init__(self, host: str, judge: _Judge | None, roots: Any = None) -> None:
        self._name = _dns_id(host)
        self._judge = judge
        self._context: SSL.Context = CertificateOptions(trustRoot=roots, raiseMinimumTo=TLSVersion.TLSv1_2).getContext()
        if judge is not None:
            self._context.set_verify(SSL.VERIFY_PEER, self._verify)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name.hostname)
        return connection

    def _verify(self, connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:
        fault: LinkError | None = CertificateRejected("the certificate could not be judged")
        try:
            if self._judge is not None:
                fault = self._judge(certificate.to_cryptography(), 0 if ok else error, depth)
        except Exception as unreadable:  # noqa: BLE001 - whatever is odd about a certificate, it is not accepted
            fault = CertificateRejected(f"the certificate cannot be read: {unreadable}")
        if fault is not None:
            connection.set_app_data(fault)
        return fault is None


def _pinned(pin: str, peer: str, remedy: str) -> _Judge:
    """Exactly this certificate; who signed it, its names and its dates do not matter."""

    def judge(certificate: x509.Certificate, error: int, depth: int) -> LinkError | None:
        seen = fingerprint(certificate.public_bytes(Encoding.DER))
        if depth > 0 or seen == pin:
            return None
        return CertificateChanged(
            f"{peer} shows another certificate than the trusted one: SHA-256 {seen} instead of {pin}; "
            + remedy.format(seen=seen)
        )

    return judge


def _named(host: str) -> _Judge:
    """A chain that OpenSSL accepts, and the host's name or address in a subjectAltName of the peer's own.

    Twisted's ``optionsForClientTLS`` lets a certificate without any subjectAltName pass as every host.
    """
    wanted = _dns_id(host) or IPAddress_ID(_plain(host))

    def judge(certificate: x509.Certificate, error: int, depth: int) -> LinkError | None:
        if error:
            why = CHAIN.get(error, f"OpenSSL's error {error}")
            return CertificateRejected(f"the certificate {_subject(certificate)} is not accepted: {why}")
        if depth > 0:
            return None
        try:
            verify_service_identity(extract_patterns(certificate), [wanted], [])
        except (VerificationError, CertificateError):
            return CertificateRejected(
                f"the certificate {_subject(certificate)} is not one for {host}: that is in none of its "
                "subjectAltNames; a GX's own certificate has none and needs VICTRON_TRUST=tofu or pin:SHA256"
            )
        return None

    return judge


def _subject(certificate: x509.Certificate) -> str:
    return f"of {certificate.subject.rfc4514_string() or 'nobody'}"


def _plain(host: str) -> str:
    """Without what a name or address may carry for the resolver: the root's dot, the zone of a link-local address."""
    return host.partition("%")[0].removesuffix(".")


def _dns_id(host: str) -> DNS_ID | None:
    """The name to check and to ask for; None for an address."""
    host = _plain(host)
    return None if isIPAddress(host) or isIPv6Address(host) else DNS_ID(host)


def _authorities(path: Path) -> list[Certificate]:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise TrustError(f"gx.trust: {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise TrustError(f"gx.trust: {path} holds no certificate in PEM form") from None
    return [Certificate.load(one.public_bytes(Encoding.DER)) for one in found]
