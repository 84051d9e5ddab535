"""Which services begin anew when the configuration changes, and what becomes of one that does not work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from victron_twin.config import Config, ConfigError
from victron_twin.supervisor import ORDER, PROBATION, Supervisor


class Part(Service):
    def __init__(self, config: Config, fatal: Callable[[str], None]) -> None:
        self.config = config
        self.fatal = fatal


class Parts:
    """Services that do nothing; ``bad`` are values of ``http`` that none of them takes."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Part]] = []
        self.adjusted: list[Config] = []
        self.bad: set[str] = set()

    def make(self, config: Config, part: str, fatal: Callable[[str], None]) -> IService | None:
        if part == "web" and config.http in self.bad:
            raise ConfigError(f"http: {config.http} cannot be used")
        made = Part(config, fatal)
        self.made.append((part, made))
        return made

    def adjust(self, config: Config) -> None:
        self.adjusted.append(config)

    def prepare(self, config: Config) -> Deferred[None]:
        return succeed(None)

    def names(self) -> list[str]:
        """The parts made since the last call."""
        names = [name for name, _ in self.made]
        self.made.clear()
        return names


class Bench:
    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.site = Parts()
        self.fatal: list[str] = []
        environ = {"VICTRON_TWIN_STATE_DIR": str(folder)}

        def load(component: Mapping[str, Any] | None) -> Config:
            return Config.load({}, environ, component, folder=folder)

        self.supervisor = Supervisor(self.clock, load, self.site, self.fatal.append)
        self.supervisor.startService()

    def take(self, **component: Any) -> None:
        self.supervisor.take(component)

    @property
    def config(self) -> Config:
        assert self.supervisor.config is not None
        return self.supervisor.config


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_first_configuration_makes_all(bench: Bench) -> None:
    bench.take(thing_name="van")
    assert all(part.running for _, part in bench.site.made)
    assert bench.site.names() == list(ORDER)
    assert bench.config.thing_name == "van"


def test_one_that_cannot_be_used_at_the_start_ends_the_process(bench: Bench) -> None:
    bench.take(backend="cloud")
    assert "backend: 'cloud'" in bench.fatal[0]
    assert bench.site.names() == []


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"cadence": {"normal": 30}}, []),
        ({"log_level": "debug"}, []),
        ({"commands": {"mode": "off"}}, []),
        ({"http": "tcp:9000:interface=127.0.0.1"}, ["web"]),
        ({"gx": {"host": "192.0.2.1"}}, ["core", "web", "manhole"]),
        ({"thing_name": "boat"}, ["core", "web", "manhole"]),
    ],
)
def test_a_change_begins_anew_what_it_affects(bench: Bench, change: dict[str, Any], again: list[str]) -> None:
    bench.take()
    before = dict(bench.site.made)
    bench.site.names()
    bench.take(**change)
    assert [name for name in ORDER if not before[name].running] == again
    assert bench.site.names() == again
    assert bench.site.adjusted == [bench.config]


def test_the_same_again_changes_nothing(bench: Bench) -> None:
    bench.take(thing_name="van")
    bench.site.names()
    bench.take(thing_name="van")
    assert bench.site.names() == []


def test_a_bad_change_is_refused(bench: Bench) -> None:
    bench.take(thing_name="van")
    made = dict(bench.site.made)
    bench.site.names()
    bench.take(thing_name="van", cadence={"normal": "often"})
    assert bench.config.cadence.normal == 10
    assert all(part.running for part in made.values())
    assert bench.fatal == []


def test_a_change_that_cannot_be_made_is_taken_back(bench: Bench) -> None:
    bench.take()
    bench.site.bad.add("tcp:1:interface=127.0.0.1")
    bench.take(http="tcp:1:interface=127.0.0.1")
    name, part = bench.site.made[-1]
    assert (name, part.running, part.config.http) == ("web", 1, "tcp:8480:interface=127.0.0.1")
    assert bench.config.http == "tcp:8480:interface=127.0.0.1"


def test_services_that_fail_right_after_a_change_bring_back_the_one_before(bench: Bench) -> None:
    bench.take()
    bench.take(http="tcp:80:interface=127.0.0.1")
    bench.site.made[-1][1].fatal("http: port 80 is taken")
    assert bench.config.http == "tcp:8480:interface=127.0.0.1"
    assert bench.fatal == []
    bench.site.made[-1][1].fatal("http: port 8480 is taken")
    assert bench.fatal == ["http: port 8480 is taken"]


def test_services_that_fail_later_end_the_process(bench: Bench) -> None:
    bench.take()
    bench.take(http="tcp:80:interface=127.0.0.1")
    bench.clock.advance(PROBATION + 1)
    bench.site.made[-1][1].fatal("gone")
    assert bench.fatal == ["gone"]
