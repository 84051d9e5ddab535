"""The parts of ``victron-twin shadow`` that need no service."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timezone
from typing import Any, cast

import pytest

from tests.support import CATALOG
from victron_twin import cli
from victron_twin.shadow_command import Options, asked_for, changes, so_already, value_of
from victron_twin.web.client import Trouble, url_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Charger Only", "Charger Only"),
        ('"On"', "On"),
        ("3", 3),
        ("-12.5", -12.5),
        ("true", True),
        ("NaN", "NaN"),
        ('{"value": 1}', {"value": 1}),
        ("", ""),
    ],
)
def test_a_value_is_json_or_text(text: str, value: Any) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("tcp:8480:interface=127.0.0.1", "http://127.0.0.1:8480"),
        ("tcp:port=8481", "http://127.0.0.1:8481"),
        ("tcp:8480:interface=0.0.0.0", "http://127.0.0.1:8480"),
        (r"tcp6:8480:interface=\:\:", "http://[::1]:8480"),
        (r"tcp6:8480:interface=fe80\:\:1", "http://[fe80::1]:8480"),
        ("tcp:8480:backlog=5:interface=192.168.1.5", "http://192.168.1.5:8480"),
    ],
)
def test_where_the_configuration_says_that_the_service_is(endpoint: str, url: str) -> None:
    assert url_of(endpoint) == url


def test_what_is_no_url() -> None:
    with pytest.raises(Trouble, match="--url"):
        url_of("unix:/run/twin")


def test_a_setting_is_a_plain_value_and_an_action_gets_an_id_and_expires_in_a_minute() -> None:
    commands = CATALOG.commands
    assert asked_for(commands, "victron-vebus", "mode", "On") == "On"
    assert asked_for(commands, "victron-solarcharger", "devices.280.mode", 1) == 1
    assert asked_for(commands, "victron-vebus", "nothing.such", 1) == 1
    for field in ("redetectSystem", "devices.277.redetectSystem"):
        asked = asked_for(commands, "victron-vebus", field, 1)
        assert asked.keys() == {"value", "id", "expires"}
        assert (asked["value"], uuid.UUID(asked["id"]).version) == (1, 4)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", asked["expires"])
        ahead = datetime.fromisoformat(asked["expires"].replace("Z", "+00:00")) - datetime.now(timezone.utc)
        assert 55 <= ahead.total_seconds() <= 60
    own = {"value": 1, "id": "mine", "expires": "2030-01-01T00:00:00Z"}
    assert asked_for(commands, "victron-vebus", "redetectSystem", own) is own


def test_whether_it_was_so_already() -> None:
    assert so_already({"reported": {"a": {"b": 1}}}, ("a", "b"), 1)
    assert not so_already({"reported": {"a": {"b": 1}}}, ("a", "b"), 2)
    assert not so_already({"reported": {"a": {"b": 1}}, "delta": {"a": {"b": 1}}}, ("a", "b"), 1)


def test_changes_are_a_line_each() -> None:
    old = {"state": {"reported": {"soc": 80.5, "mode": "On", "lastUpdate": "1"}}}
    new = {"state": {"desired": {"mode": "Off"}, "reported": {"soc": 80.0, "pv": {"power": 1}, "lastUpdate": "2"}}}
    assert list(changes(old, new)) == [
        'desired mode: - -> "Off"',
        "soc: 80.5 -> 80.0",
        'mode: "On" -> -',
        "pv.power: - -> 1",
    ]


def parsed(*arguments: str) -> Any:
    options = cast("Any", Options)()  # Twisted's are untyped
    options.parseOptions(arguments)
    return options.subOptions


@pytest.mark.parametrize("arguments", [("mode=Charger Only",), ("mode", "Charger Only")])
def test_both_ways_to_say_what_is_desired(arguments: tuple[str, ...]) -> None:
    options = parsed("set", "--timeout", "3", "victron-vebus", *arguments)
    assert [options[key] for key in ("name", "field", "value", "timeout")] == [
        "victron-vebus",
        "mode",
        "Charger Only",
        3.0,
    ]


def test_a_value_may_hold_what_looks_like_an_option_or_an_assignment() -> None:
    assert parsed("set", "victron-grid", "setpoint", "-500")["value"] == -500
    assert parsed("set", "victron-x", "a=b=c")["value"] == "b=c"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "get, set or watch"),
        (("get",), "Wrong number of arguments"),
        (("get", "victron-gps", "victron-vebus"), "one shadow at a time"),
        (("get", "victron-gps", "--all"), "options stand before"),
        (("set", "victron-vebus"), "FIELD=VALUE"),
        (("set", "victron-vebus", "mode"), "FIELD=VALUE"),
        (("set", "victron-vebus", "=On"), "FIELD=VALUE"),
        (("set", "victron-vebus", "a..b=On"), "FIELD=VALUE"),
        (("set", "victron-vebus", "mode=null"), "null is no value"),
        (("set", "--timeout", "soon", "victron-vebus", "mode=On"), "soon"),
        (("get", "--frobnicate", "victron-gps"), "frobnicate"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["shadow", *arguments]) == 2
    assert said in capsys.readouterr().err
