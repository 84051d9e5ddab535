"""What the local web server gives to read."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.simulation.world import World
from victron_twin.web.access import Access, Guarded

from .memory import Client
from .pages import pages

#: What a van has.
SHADOWS = [f"victron-{kind}" for kind in ("battery", "gps", "settings", "solarcharger", "system", "twin", "vebus")]


def client(world: World) -> Client:
    made, _ = pages(world.clock, world.process.core)
    return Client(made.app.resource())


@pytest.fixture(scope="module")
def van(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A van that is up; these tests only read."""
    world = World(tmp_path_factory.mktemp("van"), 1)
    world.run(30)
    return world


def test_the_page_loads_nothing_from_elsewhere(van: World) -> None:
    page = client(van).ask("GET", "/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert b"http://" not in page.body
    assert b"https://" not in page.body
    assert b"style=" not in page.body
    assert b"onclick" not in page.body


@pytest.mark.parametrize(
    ("name", "kind"), [("page.js", "text/javascript; charset=utf-8"), ("page.css", "text/css; charset=utf-8")]
)
def test_what_the_page_loads(van: World, name: str, kind: str) -> None:
    assert f'"static/{name}"' in client(van).ask("GET", "/").body.decode()
    answer = client(van).ask("GET", f"/static/{name}")
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/static/",
        "/static/nothing.js",
        "/static/..%2fsite.py",
        "/static/%2e%2e/site.py",
        "/schema/nothing.json",
        "/schema/victron-battery",
        "/schema/",
        "/health/more",
    ],
)
def test_what_is_not_there_is_said_in_json(van: World, path: str) -> None:
    answer = client(van).ask("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    assert answer.json["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/events"])
def test_all_of_it_can_only_be_read(van: World, method: str, path: str) -> None:
    answer = client(van).ask(method, path, b"{}")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json["message"]


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/schema/victron-battery.json"])
def test_asking_for_the_headers_only(van: World, path: str) -> None:
    answer = client(van).ask("HEAD", path)
    assert (answer.status, answer.body) == (200, b"")


def test_health(van: World) -> None:
    answer = client(van).ask("GET", "/health")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json["mqttConnected"] is True


def test_health_of_what_is_not_well(tmp_path: Path) -> None:
    answer = client(World(tmp_path, 1)).ask("GET", "/health")
    assert (answer.status, answer.headers["content-type"]) == (503, "application/json")
    assert answer.json["healthy"] is False


def test_metrics(van: World) -> None:
    answer = client(van).ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    assert families["victron_twin_healthy"].samples[0].value == 1


@pytest.mark.parametrize("name", SHADOWS)
def test_the_schema_of_each_shadow_says_what_it_reports(van: World, name: str) -> None:
    answer = client(van).ask("GET", f"/schema/{name}.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/schema+json")
    jsonschema.Draft202012Validator.check_schema(answer.json)
    reported = van.reported(name)
    assert reported
    jsonschema.validate(reported, answer.json)


def test_the_audit_log_of_commands_newest_first(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    world.run(20)
    world.desire("victron-solarcharger", mode="Off")
    world.run(3)
    steps = client(world).ask("GET", "/api/commands").json
    assert [step["step"] for step in steps] == ["settled", "confirmed", "written", "received"]
    assert len(client(world).ask("GET", "/api/commands?limit=2").json) == 2
    for limit in ("many", "0", "501", "9" * 5000):
        assert client(world).ask("GET", f"/api/commands?limit={limit}").status == 400


def test_commands_are_switched_off_and_on(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    world.run(30)
    ours = client(world)
    assert ours.ask("GET", "/api/commands/mode").json == {"mode": "allow-list", "token": True}
    for _ in range(2):
        assert ours.ask("POST", "/api/commands/mode", b'{"mode": "off"}').json["mode"] == "off (by hand)"
    assert ours.ask("GET", "/health").json["commands"] == "off (by hand)"
    assert (tmp_path / "commands.off").exists()
    assert ours.ask("POST", "/api/commands/mode", b'{"mode": "on"}').json["mode"] == "allow-list"
    assert not (tmp_path / "commands.off").exists()


@pytest.mark.parametrize("body", [b"", b"off", b"[]", b'{"mode": "all"}', b'{"mode": null}', b'{"mode": ["off"]}'])
def test_what_is_no_switch(van: World, body: bytes) -> None:
    assert client(van).ask("POST", "/api/commands/mode", body).status == 400


def test_switching_commands_off_needs_the_token(van: World) -> None:
    guarded = Client(Guarded(pages(van.clock, van.process.core)[0].app.resource(), Access("a" * 20)))
    headers = {"Host": "localhost"}
    assert guarded.ask("GET", "/api/commands/mode", headers=headers).status == 200
    assert guarded.ask("POST", "/api/commands/mode", b'{"mode": "off"}', headers).status == 401
    assert van.process.core.commands.mode == "allow-list"
