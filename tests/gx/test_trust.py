"""Whom each trust believes, on real TLS sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.ssl import Certificate, CertificateOptions

from tests.asynchronous import asynchronous, until
from tests.gx.certificates import DAY, Identity
from tests.gx.servers import LOOPBACK, Server, serving
from tests.gx.wires import Recorder, Recorders, refused
from victron_twin.gx.connect import GXEndpoint
from victron_twin.gx.endpoint import Credentials
from victron_twin.gx.errors import (
    CertificateChanged,
    CertificateRejected,
    HandshakeFailed,
    HandshakeTimeout,
    LinkError,
    LoginCut,
    LoginRefused,
    LoginTimeout,
    PinStoreError,
    ProtocolError,
    TrustError,
    Unresolvable,
)
from victron_twin.gx.pins import Pins
from victron_twin.gx.trust import Trust, policy

AUTHORITY = Identity("an authority", authority=True)
STRANGER = Identity("another authority", authority=True)
GX = Identity("venus.local", authority=True)
OTHER_GX = Identity("venus.local", authority=True)


class TestParse:
    @pytest.mark.parametrize("text", ["tofu", "system", "insecure", "plaintext", "ca:/etc/ca.pem", "pin:" + "ab" * 32])
    def test_every_kind(self, text: str) -> None:
        assert str(Trust.parse(text)) == text

    def test_pin_may_have_colons_and_capitals(self) -> None:
        assert Trust.parse("pin:" + ":".join(["AB"] * 32)) == Trust("pin", "ab" * 32)

    @pytest.mark.parametrize("text", ["", "Tofu", "tofu:x", "pin", "pin:", "pin:abc", "pin:" + "g" * 64, "ca:", "none"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"pin:SHA256|64 hex digits"):
            Trust.parse(text)


async def attempt(
    server: Server,
    trust: str,
    tls: CertificateOptions | None,
    *,
    host: str = LOOPBACK,
    pins: Pins | None = None,
    timeout: float = 5.0,
) -> Recorder | BaseException:
    """What comes of one connection to the server."""
    listeners = Recorders()
    async with serving(server, tls, server.port):
        endpoint = GXEndpoint(
            reactor,
            host,
            server.port,
            Trust.parse(trust),
            pins or Pins(None),
            lambda: Credentials("", "secret"),
            "twin",
            timeout,
        )
        try:
            await endpoint.connect(listeners)
        except Exception as error:  # noqa: BLE001 - it is the answer
            assert listeners.built == []
            return error
        (recorder,) = listeners.built
        assert recorder.session is not None
        recorder.session.loseConnection()
        await until(lambda: recorder.lost)
    return recorder


async def accepts(identity: Identity, trust: str, **more: Any) -> bool:
    """Whether a login was accepted; else the certificate was rejected, and nothing of ours was sent."""
    server = Server()
    result = await attempt(server, trust, identity.server(), **more)
    if isinstance(result, Recorder):
        return True
    assert isinstance(result, CertificateRejected), result
    assert [peer.received for peer in server.peers] == [b""]
    return False


@pytest.fixture
def ca(tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    file.write_bytes(STRANGER.pem + AUTHORITY.pem)
    return f"ca:{file}"


class TestAuthority:
    @asynchronous
    async def test_accepts_the_right_name_or_address(self, ca: str) -> None:
        assert await accepts(Identity("x", ["localhost"], AUTHORITY), ca, host="localhost")
        assert await accepts(Identity("x", ["127.0.0.1"], AUTHORITY), ca)

    @pytest.mark.parametrize(
        ("names", "host"),
        [
            ([], "localhost"),
            ([], LOOPBACK),
            (["venus.local"], "localhost"),
            (["localhost"], LOOPBACK),
            (["127.0.0.2"], LOOPBACK),
            (["127.0.0.1"], "localhost"),
        ],
    )
    @asynchronous
    async def test_rejects_another_name_and_none(self, ca: str, names: list[str], host: str) -> None:
        assert not await accepts(Identity(host, names, AUTHORITY), ca, host=host)

    @asynchronous
    async def test_rejects_another_authority(self, tmp_path: Path) -> None:
        file = tmp_path / "ca.pem"
        file.write_bytes(STRANGER.pem)
        assert not await accepts(Identity("x", ["localhost"], AUTHORITY), f"ca:{file}", host="localhost")
        assert not await accepts(Identity("x", ["localhost"]), f"ca:{file}", host="localhost")

    @asynchronous
    async def test_rejects_what_is_not_valid_now(self, ca: str) -> None:
        for begins, ends, says in [(-2 * DAY, -DAY, "expired"), (DAY, 2 * DAY, "not valid yet")]:
            stale = Identity("x", ["localhost"], AUTHORITY, begins=begins, ends=ends)
            error = await attempt(Server(), ca, stale.server(), host="localhost")
            assert isinstance(error, CertificateRejected)
            assert says in str(error)

    @asynchronous
    async def test_rejects_a_gx_s_own_certificate_and_says_what_to_do(self, tmp_path: Path) -> None:
        file = tmp_path / "gx.pem"
        file.write_bytes(GX.pem)
        error = await attempt(Server(), f"ca:{file}", GX.server(), host="localhost")
        assert isinstance(error, CertificateRejected)
        assert "tofu" in str(error)

    @asynchronous
    async def test_file_that_is_of_no_use_fails_before_anything_is_sent(self, tmp_path: Path) -> None:
        rubbish = tmp_path / "rubbish.pem"
        rubbish.write_text("rubbish")
        for file in (rubbish, tmp_path / "missing.pem"):
            server = Server()
            error = await attempt(server, f"ca:{file}", GX.server())
            assert isinstance(error, TrustError)
            assert str(file) in str(error)
            assert server.peers == []


class TestSystem:
    @asynchronous
    async def test_rejects_what_no_public_authority_signed(self) -> None:
        assert not await accepts(Identity("localhost", ["localhost"]), "system", host="localhost")
        assert not await accepts(Identity("localhost", ["localhost"], AUTHORITY), "system", host="localhost")

    @asynchronous
    async def test_accepts_the_store_of_the_system(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = tmp_path / "store.pem"
        store.write_bytes(AUTHORITY.pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(store))
        assert await accepts(Identity("x", ["localhost"], AUTHORITY), "system", host="localhost")
        assert not await accepts(Identity("x", [], AUTHORITY), "system", host="localhost")


class TestPin:
    @asynchronous
    async def test_accepts_exactly_this_certificate_whatever_it_says(self) -> None:
        assert await accepts(GX, f"pin:{GX.sha256}")
        expired = Identity("x", begins=-2 * DAY, ends=-DAY)
        assert await accepts(expired, f"pin:{expired.sha256}", host="localhost")

    @asynchronous
    async def test_rejects_any_other_and_tells_its_fingerprint(self) -> None:
        error = await attempt(Server(), f"pin:{GX.sha256}", OTHER_GX.server())
        assert isinstance(error, CertificateChanged)
        assert f"VICTRON_TRUST=pin:{OTHER_GX.sha256}" in str(error)

    @asynchronous
    async def test_is_of_the_peer_and_not_of_who_signed_it(self) -> None:
        chain = Identity("x", issuer=GX)
        options = CertificateOptions(
            privateKey=chain.server().privateKey,
            certificate=chain.server().certificate,
            extraCertChain=[Certificate.loadPEM(GX.pem).original],
        )
        assert isinstance(await attempt(Server(), f"pin:{GX.sha256}", options), CertificateChanged)
        assert isinstance(await attempt(Server(), f"pin:{chain.sha256}", options), Recorder)


class TestFirstUse:
    @asynchronous
    async def test_remembers_after_an_accepted_login_only(self, tmp_path: Path) -> None:
        pins = Pins(tmp_path / "pins.json")
        server = Server(refused(5))
        assert isinstance(await attempt(server, "tofu", GX.server(), pins=pins), LoginRefused)
        assert pins.get(LOOPBACK, server.port) is None
        server.answer = b"\x20\x02\x00\x00"
        assert isinstance(await attempt(server, "tofu", GX.server(), pins=pins), Recorder)
        assert Pins(tmp_path / "pins.json").get(LOOPBACK, server.port) == GX.sha256
        assert isinstance(await attempt(server, "tofu", GX.server(), pins=pins), Recorder)

    @asynchronous
    async def test_a_changed_certificate_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        file = tmp_path / "pins.json"
        pins, server = Pins(file), Server()
        pins.remember(LOOPBACK, server.port, GX.sha256)
        assert isinstance(await attempt(server, "tofu", GX.server(), pins=pins), Recorder)
        error = await attempt(server, "tofu", OTHER_GX.server(), pins=pins)
        assert isinstance(error, CertificateChanged)
        for part in (f"{LOOPBACK}:{server.port}", GX.sha256, OTHER_GX.sha256, str(file), "reset or replaced", "pin:"):
            assert part in str(error)
        assert server.peers[-1].received == b""
        assert pins.get(LOOPBACK, server.port) == GX.sha256

        file.write_text("{}")
        assert isinstance(await attempt(server, "tofu", OTHER_GX.server(), pins=pins), Recorder)
        assert pins.get(LOOPBACK, server.port) == OTHER_GX.sha256

    @asynchronous
    async def test_pins_that_cannot_be_read_trust_nobody(self, tmp_path: Path) -> None:
        file = tmp_path / "pins.json"
        file.write_text('{"127.0.0.1:')
        server = Server()
        error = await attempt(server, "tofu", GX.server(), pins=Pins(file))
        assert isinstance(error, PinStoreError)
        assert str(file) in str(error)
        assert server.peers == []

    @asynchronous
    async def test_a_pin_that_cannot_be_kept_ends_the_link(self, tmp_path: Path) -> None:
        error = await attempt(Server(), "tofu", GX.server(), pins=Pins(tmp_path / "missing" / "pins.json"))
        assert isinstance(error, PinStoreError)


class TestInsecure:
    @asynchronous
    async def test_accepts_anything(self) -> None:
        pins = Pins(None)
        server = Server()
        assert isinstance(await attempt(server, "insecure", GX.server(), pins=pins), Recorder)
        assert pins.get(LOOPBACK, server.port) is None


class TestHandshake:
    @asynchronous
    async def test_needs_tls_1_2(self) -> None:
        old = GX.server()
        context = old.getContext()
        context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
        context.set_options(SSL.OP_NO_TLSv1_2 | SSL.OP_NO_TLSv1_3)
        error = await attempt(Server(), "insecure", old)
        assert isinstance(error, HandshakeFailed)

    @asynchronous
    async def test_with_a_server_that_has_no_tls(self) -> None:
        """One that answers with its own words, one that waits."""
        error = await attempt(Server(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tofu", None)
        assert isinstance(error, HandshakeFailed)
        assert "does not speak TLS" in str(error)
        error = await attempt(Server(None), "tofu", None, timeout=0.2)
        assert isinstance(error, HandshakeTimeout)

    @asynchronous
    async def test_name_goes_along(self) -> None:
        seen: list[bytes | None] = []
        tls = GX.server()
        tls.getContext().set_tlsext_servername_callback(lambda connection: seen.append(connection.get_servername()))
        assert isinstance(await attempt(Server(), "tofu", tls, host="localhost"), Recorder)
        assert isinstance(await attempt(Server(), "tofu", tls), Recorder)
        assert seen == [b"localhost", None]

    def test_plaintext_has_no_policy(self) -> None:
        with pytest.raises(ValueError, match="no TLS"):
            policy(Trust("plaintext"), "x", 1883, Pins(None))


class TestPlaintext:
    @asynchronous
    async def test_works(self) -> None:
        assert isinstance(await attempt(Server(), "plaintext", None), Recorder)

    @asynchronous
    async def test_with_a_tls_broker(self) -> None:
        error = await attempt(Server(), "plaintext", GX.server())
        assert isinstance(error, ProtocolError | LoginCut)
        assert "TLS" in str(error)

    @asynchronous
    async def test_refusal_that_takes_its_time(self) -> None:
        error = await attempt(Server(refused(5), delay=1.0), "plaintext", None, timeout=0.5)
        assert isinstance(error, LoginRefused)


@asynchronous
async def test_a_name_without_address() -> None:
    error = await attempt(Server(), "tofu", None, host="venus.invalid")
    assert isinstance(error, Unresolvable)
    assert "VICTRON_HOST=<ip>" in str(error)


def test_every_error_is_one_family() -> None:
    for kind in (CertificateChanged, HandshakeTimeout, LoginTimeout, PinStoreError, TrustError, Unresolvable):
        assert issubclass(kind, LinkError)
