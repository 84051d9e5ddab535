"""Certificates of every kind, good and bad."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.ssl import CertificateOptions, PrivateCertificate

DAY = timedelta(days=1)


class Identity:
    """A certificate with its key, signed by an authority or by itself.

    ``names`` are host names and addresses for its subjectAltName; without any it has none.
    """

    def __init__(
        self,
        common_name: str,
        names: Sequence[str] = (),
        issuer: Identity | None = None,
        *,
        authority: bool = False,
        begins: timedelta = -DAY,
        ends: timedelta = DAY,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        signer = issuer or self
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        self.certificate = builder.sign(signer.key, SHA256())
        self.pem = self.certificate.public_bytes(Encoding.PEM)
        self.sha256 = hashlib.sha256(self.certificate.public_bytes(Encoding.DER)).hexdigest()

    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def server(self) -> CertificateOptions:
        """What a server needs to show it."""
        options: CertificateOptions = PrivateCertificate.loadPEM(self.key_pem() + self.pem).options()
        return options

    def write(self, folder: Path) -> tuple[Path, Path]:
        """The files of certificate and key, for a server that wants files."""
        files = folder / "certificate.pem", folder / "key.pem"
        files[0].write_bytes(self.pem)
        files[1].write_bytes(self.key_pem())
        return files


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
