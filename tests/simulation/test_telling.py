"""What is wrong with the link is told once, however long it lasts, and shown until it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import provider

from tests.simulation.test_convergence import world
from tests.simulation.world import World

HOUR = 3600.0


@contextmanager
def told() -> Iterator[list[str]]:
    """What is logged of the link, from info on."""
    lines: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.info and event["log_namespace"].startswith("victron_twin.gx"):
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


def problems(made: World) -> list[str]:
    found: list[str] = made.process.core.health.report()["problems"]
    return found


def test_a_gx_that_does_not_publish_for_an_hour(tmp_path: Path) -> None:
    with world(tmp_path, 1) as made:
        made.run(60)
        made.gx.deaf = True
        with told() as lines:
            made.run(HOUR)
            assert made.reported("victron-twin")["problem"].startswith("the GX is silent")
            made.gx.deaf = False
            made.run(180)
        silent, well = lines
        assert "the GX is silent" in silent
        assert "all is well again" in well
        assert problems(made) == []


def test_a_gx_that_is_off_for_an_hour(tmp_path: Path) -> None:
    with world(tmp_path, 1) as made:
        made.run(60)
        network = made.process.network
        with told() as lines:
            network.refuse = True
            network.cut()
            made.run(HOUR)
            assert "refused" in made.reported("victron-twin")["problem"]
            network.refuse = False
            made.run(180)
        lost, refused, well = lines
        assert "the connection was lost" in lost
        assert "refused" in refused
        assert "all is well again" in well
        assert problems(made) == []


def test_the_portal_id_of_another_gx(tmp_path: Path) -> None:
    with told() as lines, world(tmp_path, 1, VICTRON_VRM_ID="c0619abfffff") as made:
        made.run(20)
        assert "VICTRON_VRM_ID" in problems(made)[0]
        assert not made.process.core.health.healthy()
        made.run(HOUR)
        assert f"set VICTRON_VRM_ID={made.site.portal_id}" in problems(made)[0]
        assert made.process.core.gxs[0].status.attempts == 1
        connected, wrong = lines
        assert "Connected" in connected
        assert f"gx.portal_id is c0619abfffff, but the GX there has {made.site.portal_id}" in wrong


def test_a_connection_that_is_filling_has_no_problem_any_more(tmp_path: Path) -> None:
    with world(tmp_path, 1) as made:
        made.run(60)
        made.gx.deaf = True
        made.process.network.cut()
        made.run(5)
        report = made.process.core.health.report()
        assert (report["mqttConnected"], report["problems"]) == (True, [])
