"""Who may ask."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from klein import Klein
from twisted.web.iweb import IRequest

from victron_twin.state import StateError
from victron_twin.web.access import Access, Guarded, load_token

from .memory import Client

TOKEN = "0123456789abcdef0123"
SIGNATURE = "SignedHeaders=host;x-amz-date, Signature=abcdef"


def client(token: str | None = TOKEN) -> Client:
    app = Klein()

    @app.route("/", branch=True)
    def everything(request: IRequest) -> bytes:
        return b"ok"

    return Client(Guarded(app.resource(), Access(token, "Cerbo-Edge.lan")))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8480",
        "127.0.0.1:8480",
        "[::1]:8480",
        "192.168.1.7",
        "[fe80::1]",
        "cerbo-edge",
        "cerbo-edge.lan:8480",
        "cerbo-edge.local",
    ],
)
def test_names_of_this_machine(host: str) -> None:
    assert client().ask("GET", "/health", headers={"Host": host}).body == b"ok"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8480",
        "evil.local",
        "[::1",
        "localhost:x:y",
        "",
    ],
)
def test_names_of_others(host: str) -> None:
    answer = client(token=None).ask("GET", "/health", headers={"Host": host})
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, "ForbiddenException")
    assert "is not a name of this machine" in answer.json["message"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8480", 200),
        ("https://localhost:8480", 200),
        ("http://localhost", 403),
        ("http://localhost:3000", 403),
        ("http://127.0.0.1:8480", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_other_sites_get_nothing_even_where_access_is_open(method: str, origin: str, status: int) -> None:
    assert client(token=None).ask(method, "/x", headers={"Origin": origin}).status == status


@pytest.mark.parametrize(
    "authorization",
    [
        f"Bearer {TOKEN}",
        f"bearer  {TOKEN}",
        f"AWS4-HMAC-SHA256 Credential={TOKEN}/20260101/eu-west-1/iotdata/aws4_request, {SIGNATURE}",
        f"AWS4-HMAC-SHA256 {SIGNATURE}, Credential={TOKEN}/20260101/eu-west-1/iotdata/aws4_request",
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
def test_token_opens_what_changes_something(method: str, authorization: str) -> None:
    assert client().ask(method, "/x", headers={"Authorization": authorization}).status == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer ünïcode-0123456789",
        f"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/{TOKEN}/eu-west-1/iotdata/aws4_request, {SIGNATURE}",
        f"AWS4-HMAC-SHA256 Credential=/{TOKEN}, {SIGNATURE}",
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
def test_without_the_token_nothing_is_changed(method: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = client().ask(method, "/x", headers=headers)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (401, "UnauthorizedException")
    assert TOKEN not in answer.json["message"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_needs_no_token(method: str) -> None:
    assert client().ask(method, "/x").status == 200


def test_open_access_needs_no_token() -> None:
    assert client(token=None).ask("POST", "/x").status == 200


def test_path_of_another_encoding() -> None:
    assert client().ask("GET", "/%ff").status == 400


def test_token_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = load_token(path)
    assert len(token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_token(path) == token
    assert load_token(tmp_path / "other") != token


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"with spaces in it 0123456789", b"\xff" * 40, b"a/b" * 20])
def test_token_file_that_is_no_token_fails_closed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(StateError, match="remove it, and it is made anew") as caught:
        load_token(path)
    assert str(path) in str(caught.value)


def test_token_of_ones_own_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert load_token(path) == TOKEN
