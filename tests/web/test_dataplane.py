"""The data plane's HTTP: routes, bodies, error codes. What the updates do is the backend's contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from klein import Klein
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.web.iweb import IRequest

from tests.conftest import ExpectErrors
from victron_twin.shadows import backend as backends
from victron_twin.shadows.backend import Delta, Document, ShadowError, nothing
from victron_twin.shadows.local import LocalBackend
from victron_twin.web.body import MAX_BODY
from victron_twin.web.dataplane import DataPlane
from victron_twin.worker import InlineWorker

from .memory import Answer, Client

NOW = 1_700_000_000
SHADOW = "/things/van/shadow?name=victron-battery"
LIST = "/api/things/shadow/ListNamedShadowsForThing/van"


@pytest.fixture
def client(tmp_path: Path) -> Client:
    clock = Clock()
    clock.advance(NOW)
    backend = LocalBackend(tmp_path / "shadows.sqlite", clock, InlineWorker())
    backend.start()
    return Client(DataPlane(backend, clock).app.resource())


def post(client: Client, path: str, request: Any) -> Answer:
    return client.ask("POST", path, orjson.dumps(request))


def refused(answer: Answer) -> tuple[int, str, str]:
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() == {"message"}
    return answer.status, answer.headers["x-amzn-errortype"], answer.json["message"]


def test_update_get_delete(client: Client) -> None:
    updated = post(
        client, SHADOW, {"state": {"reported": {"soc": 80.5}, "desired": {"mode": "On"}}, "clientToken": "t"}
    )
    assert (updated.status, updated.headers["content-type"]) == (200, "application/json")
    assert updated.json == {
        "state": {"reported": {"soc": 80.5}, "desired": {"mode": "On"}},
        "metadata": {"reported": {"soc": {"timestamp": NOW}}, "desired": {"mode": {"timestamp": NOW}}},
        "version": 1,
        "timestamp": NOW,
        "clientToken": "t",
    }
    got = client.ask("GET", SHADOW)
    assert got.status == 200
    assert got.json["state"] == {"reported": {"soc": 80.5}, "desired": {"mode": "On"}, "delta": {"mode": "On"}}
    deleted = client.ask("DELETE", SHADOW)
    assert (deleted.status, deleted.json) == (200, {"version": 2, "timestamp": NOW})
    missing = (404, "ResourceNotFoundException", "No shadow exists with name: 'van~victron-battery'")
    assert refused(client.ask("GET", SHADOW)) == missing
    assert refused(client.ask("DELETE", SHADOW)) == missing
    assert post(client, SHADOW, {"state": {}}).json["version"] == 3


def test_classic_shadow_goes_without_a_name(client: Client) -> None:
    post(client, "/things/van/shadow", {"state": {"reported": {"a": 1}}})
    assert client.ask("GET", "/things/van/shadow").json["state"] == {"reported": {"a": 1}}
    assert client.ask("GET", LIST).json["results"] == []
    assert refused(client.ask("GET", "/things/other/shadow")) == (
        404,
        "ResourceNotFoundException",
        "No shadow exists with name: 'other'",
    )


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (SHADOW, b"{", (400, "InvalidRequestException", "Payload contains invalid json")),
        (SHADOW, b"", (400, "InvalidRequestException", "Payload contains invalid json")),
        (SHADOW, b"[]", (400, "InvalidRequestException", "Missing required node: state")),
        (
            SHADOW,
            b'{"state": {"delta": {}}}',
            (400, "InvalidRequestException", "State contains an invalid node: 'delta'"),
        ),
        (SHADOW, b'{"state": {}, "version": 7}', (409, "ConflictException", "Version conflict")),
        (
            SHADOW,
            b'{"state": {"reported": {"a": "' + b"x" * 8192 + b'"}}}',
            (413, "RequestEntityTooLargeException", "The payload exceeds the maximum size allowed"),
        ),
        (
            SHADOW,
            b" " * (MAX_BODY + 1),
            (413, "RequestEntityTooLargeException", "The payload exceeds the maximum size allowed"),
        ),
        (
            SHADOW,
            b'{"state": {"reported": {"a": "\xff"}}}',
            (
                415,
                "UnsupportedDocumentEncodingException",
                "Unsupported documented encoding; supported encoding is UTF-8",
            ),
        ),
    ],
)
def test_bad_bodies(client: Client, path: str, body: bytes, expected: tuple[int, str, str]) -> None:
    assert refused(client.ask("POST", path, body)) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/things/a%20b/shadow",
        "/things/" + "x" * 129 + "/shadow",
        "/things/van/shadow?name=a%2Fb",
        "/things/van/shadow?name=" + "x" * 65,
        "/things/van/shadow?name=",
        "/things/van/shadow?name=%FF",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_bad_names(client: Client, path: str, method: str) -> None:
    status, error, _ = refused(client.ask(method, path, b'{"state": {}}' if method == "POST" else None))
    assert (status, error) == (400, "InvalidRequestException")


def test_escaped_names(client: Client) -> None:
    post(client, "/things/a%3Ab/shadow?name=c%3Ad", {"state": {"reported": {"a": 1}}})
    assert client.ask("GET", "/things/a:b/shadow?name=c:d").status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(("path", "allowed"), [(SHADOW, "GET, POST, DELETE"), (LIST, "GET")])
def test_other_methods(client: Client, method: str, path: str, allowed: str) -> None:
    answer = client.ask(method, path)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (405, "MethodNotAllowedException")
    assert answer.headers["allow"] == allowed


def test_other_paths(client: Client) -> None:
    for path in ("/things/van", "/things/van/shadow/more", "/api/things/shadow"):
        assert refused(client.ask("GET", path))[:2] == (404, "ResourceNotFoundException")


def test_list_comes_in_pages(client: Client) -> None:
    names = [f"shadow-{n:02}" for n in range(30)]
    for name in names:
        post(client, f"/things/van/shadow?name={name}", {"state": {"reported": {"a": 1}}})
    first = client.ask("GET", LIST).json
    assert first.keys() == {"results", "timestamp", "nextToken"}
    assert (first["results"], first["timestamp"]) == (names[:25], NOW)
    # A shadow that goes between two pages moves nothing.
    client.ask("DELETE", f"/things/van/shadow?name={names[24]}")
    second = client.ask("GET", f"{LIST}?nextToken={first['nextToken']}").json
    assert second == {"results": names[25:], "timestamp": NOW}
    assert client.ask("GET", f"{LIST}?pageSize=100").json["results"] == [*names[:24], *names[25:]]
    seen: list[str] = []
    query = ""
    while True:
        page = client.ask("GET", f"{LIST}?pageSize=10{query}").json
        seen += page["results"]
        if "nextToken" not in page:
            break
        query = f"&nextToken={page['nextToken']}"
    assert seen == [*names[:24], *names[25:]]


@pytest.mark.parametrize(
    "query", ["pageSize=0", "pageSize=101", "pageSize=ten", "pageSize=", "pageSize=-1", "nextToken=!", "nextToken=YS9i"]
)
def test_bad_pages(client: Client, query: str) -> None:
    assert refused(client.ask("GET", f"{LIST}?{query}"))[:2] == (400, "InvalidRequestException")


class Failing:
    """A backend that answers everything with one error."""

    name = "failing"
    reported_limit = 6_500
    quiet = 0.0
    is_cloud = False

    def __init__(self, error: Exception) -> None:
        self._error = error

    def start(self) -> Deferred[None]:
        return fail(self._error)

    def stop(self) -> Deferred[None]:
        return fail(self._error)

    def get(self, thing: str, shadow: str) -> Deferred[Document]:
        return fail(self._error)

    def update(self, thing: str, shadow: str, request: Mapping[str, Any]) -> Deferred[Document]:
        return fail(self._error)

    def delete(self, thing: str, shadow: str) -> Deferred[Document]:
        return fail(self._error)

    def named_shadows(self, thing: str) -> Deferred[list[str]]:
        return fail(self._error)

    def watch(self, listener: Callable[[Delta], None], missed: Callable[[], None] = nothing) -> Callable[[], None]:
        return lambda: None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (backends.Unauthorized("no"), (403, "ForbiddenException", "no")),
        (backends.Throttled("slow"), (429, "ThrottlingException", "slow")),
        (backends.Unavailable("away"), (503, "ServiceUnavailableException", "away")),
        (ShadowError("broken"), (500, "InternalFailureException", "broken")),
    ],
)
def test_backends_errors(error: ShadowError, expected: tuple[int, str, str]) -> None:
    client = Client(DataPlane(Failing(error), Clock()).app.resource())
    for method, path in (("GET", SHADOW), ("DELETE", SHADOW), ("GET", LIST)):
        assert refused(client.ask(method, path)) == expected
    assert refused(post(client, SHADOW, {"state": {}})) == expected


def test_a_bug_is_logged_and_answered_in_the_same_form(logged_errors: ExpectErrors) -> None:
    logged_errors("a request to the data plane failed")
    client = Client(DataPlane(Failing(ZeroDivisionError()), Clock()).app.resource())
    assert refused(client.ask("GET", SHADOW)) == (500, "InternalFailureException", "Internal service failure")


def test_data_plane_beside_other_routes() -> None:
    others = Klein()

    @others.route("/", branch=True)
    def everything(request: IRequest) -> bytes:
        return b"other"

    client = Client(DataPlane(Failing(backends.Unavailable("away")), Clock()).beside(others.resource()))
    assert client.ask("GET", SHADOW).status == 503
    assert client.ask("GET", LIST).status == 503
    for path in ("/", "/health", "/thingsome", "/api/alarms"):
        assert client.ask("GET", path).body == b"other"
