"""The sync service on a simulated clock, against the real store, with a link that breaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.conftest import ExpectErrors
from tests.simulation.backends import FaultyBackend
from tests.support import CATALOG
from victron_twin.catalog.model import Cadence
from victron_twin.shadows.local import LocalBackend
from victron_twin.shadows.parts import Cadences
from victron_twin.shadows.sync import ShadowSync
from victron_twin.twin.flat import Flat, flatten
from victron_twin.twin.sheet import Sheet
from victron_twin.worker import InlineWorker

ROW = CATALOG.fields("victron-battery")[0]
ROWS = {
    "voltage": replace(ROW, cadence=Cadence.CRITICAL, deadband=0.05),
    "power": replace(ROW, cadence=Cadence.NORMAL, deadband=10.0),
    "health": replace(ROW, cadence=Cadence.SLOW, deadband=0.5),
}
NAMES = frozenset({"victron-battery", "victron-gps"})


class Site:
    """A source whose values the test sets."""

    def __init__(self) -> None:
        self.values: dict[str, Flat] = {}
        self.restored: dict[str, Mapping[str, Any]] = {}

    def set(self, shadow: str = "victron-battery", **values: Any) -> None:
        self.values.setdefault(shadow, {}).update({(name,): value for name, value in values.items()})

    def sheets(self, now: float) -> Mapping[str, Sheet]:
        return {
            name: Sheet(dict(flat), {path: ROWS[path[0]] for path in flat if path[0] in ROWS})
            for name, flat in self.values.items()
        }

    def restore(self, shadow: str, reported: Mapping[str, Any]) -> None:
        self.restored[shadow] = reported


class Bench:
    def __init__(self, path: Path, kind: type[FaultyBackend] = FaultyBackend) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.backend = kind(self.clock, LocalBackend(path, self.clock, InlineWorker()))
        self.site = Site()
        self.fatal: list[str] = []
        self.sync = ShadowSync(self.clock, self.backend, Cadences(), NAMES, self.fatal.append)
        self.sync.add("van", self.site)
        self.sync.startService()
        self.run(1)

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)

    def result(self, deferred: Deferred[Any]) -> Any:
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.run(5)
        return results[0]

    def document(self, shadow: str = "victron-battery") -> dict[str, Any]:
        found = self.result(self.backend.inner.get("van", shadow))
        assert isinstance(found, dict), found
        return found

    def reported(self, shadow: str = "victron-battery") -> dict[str, Any]:
        return dict(self.document(shadow)["state"]["reported"])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "shadows.sqlite")
    yield bench
    if bench.sync.running:
        bench.result(bench.sync.stopService())


def test_a_critical_change_goes_at_once_and_takes_the_rest_along(bench: Bench) -> None:
    bench.site.set(voltage=12.0, power=100.0, health=99.0)
    bench.run(1.1)
    assert bench.reported() == {"voltage": 12.0, "power": 100.0, "health": 99.0}
    bench.site.set(voltage=12.1, power=101.0)
    bench.run(1.1)
    assert bench.reported() == {"voltage": 12.1, "power": 101.0, "health": 99.0}


def test_normal_changes_wait_and_go_together(bench: Bench) -> None:
    bench.site.set(voltage=12.0, power=100.0, health=99.0)
    bench.run(30)
    version = bench.document()["version"]
    for step in range(30):
        bench.site.set(power=100.0 + step * 10)
        bench.run(1)
    assert 3 <= bench.document()["version"] - version <= 4


def test_the_batch_is_the_longest_wait(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "shadows.sqlite")
    bench.sync._cadences = Cadences(batch=60)
    bench.site.set(power=100.0)
    bench.run(75)
    version = bench.document()["version"]
    for step in range(120):
        bench.site.set(power=200.0 + step * 10)
        bench.run(1)
    assert bench.document()["version"] - version == 2
    bench.result(bench.sync.stopService())


def test_an_idle_site_costs_nothing(bench: Bench) -> None:
    bench.site.set(voltage=12.0, power=100.0)
    bench.run(20)
    requests = bench.backend.requests
    for step in range(600):
        bench.site.set(voltage=12.0 + (step % 4) / 100, power=100.0 + step % 9)
        bench.run(1)
    assert bench.backend.requests == requests


def test_removals_go_in_an_update_of_their_own(bench: Bench) -> None:
    bench.site.set(voltage=12.0, power=100.0, health=99.0)
    bench.run(15)
    version = bench.document()["version"]
    del bench.site.values["victron-battery"][("health",)]
    bench.site.set(voltage=12.5)
    bench.run(15)
    assert bench.reported() == {"voltage": 12.5, "power": 100.0}
    assert bench.document()["version"] == version + 2


@pytest.mark.parametrize("fault", ["refuse", "lose", "lose-answer", "throttle"])
def test_what_was_not_acknowledged_goes_out_when_the_link_is_back(
    bench: Bench, fault: str, logged_errors: ExpectErrors
) -> None:
    bench.site.set(voltage=12.0)
    bench.run(2)
    bench.backend.fault = fault
    for step in range(120):
        bench.site.set(voltage=12.0 + step / 10)
        bench.run(1)
    assert bench.sync.waiting() > 60
    assert any(s.problem for s in bench.sync.shadows())
    bench.backend.fault = ""
    bench.run(80)
    assert bench.reported()["voltage"] == 12.0 + 119 / 10
    assert bench.sync.waiting() == 0
    assert not any(s.problem for s in bench.sync.shadows())


def test_one_ill_shadow_does_not_stop_the_others(bench: Bench) -> None:
    bench.site.set(voltage=12.0, note="x" * 9000)
    bench.site.set("victron-gps", fix="Fix")
    bench.run(10)
    assert bench.reported("victron-gps") == {"fix": "Fix"}


def test_what_somebody_else_wrote_to_reported_is_set_right(bench: Bench) -> None:
    bench.site.set(voltage=12.0)
    bench.run(2)
    bench.result(bench.backend.inner.update("van", "victron-battery", {"state": {"reported": {"voltage": 99, "x": 1}}}))
    bench.site.set(voltage=12.2)
    bench.run(15)
    assert bench.reported() == {"voltage": 12.2}


def test_a_restart_begins_with_what_the_backend_holds(tmp_path: Path) -> None:
    first = Bench(tmp_path / "shadows.sqlite")
    first.site.set(voltage=12.0, health=99.0)
    first.run(2)
    first.result(first.sync.stopService())
    second = Bench(tmp_path / "shadows.sqlite")
    assert second.site.restored == {"victron-battery": {"voltage": 12.0, "health": 99.0}}
    second.site.set(voltage=12.0, health=99.0)
    requests = second.backend.requests
    second.run(120)
    assert second.backend.requests == requests
    second.result(second.sync.stopService())


def test_a_stop_flushes_what_is_due(bench: Bench) -> None:
    bench.site.set(voltage=12.0, health=99.0)
    bench.run(2)
    bench.site.set(health=50.0)
    stopped = bench.sync.stopService()
    bench.run(1)
    assert stopped.called
    store = LocalBackend(bench.backend.inner._file.path, bench.clock, InlineWorker())  # type: ignore[attr-defined]
    store.start()
    assert bench.result(store.get("van", "victron-battery"))["state"]["reported"]["health"] == 50.0
    bench.result(store.stop())


def test_a_stop_does_not_wait_for_a_dead_backend(bench: Bench) -> None:
    bench.site.set(voltage=12.0)
    bench.run(2)
    bench.backend.fault = "lose"
    bench.site.set(voltage=13.0)
    stopped = bench.sync.stopService()
    bench.run(3.2)
    assert stopped.called


class Quiet(FaultyBackend):
    """As Shadow Manager: a delete among other updates is lost on its way to the cloud."""

    def __init__(self, clock: Clock, inner: LocalBackend) -> None:
        super().__init__(clock, inner)
        self.quiet = 5.0
        self.sent: list[tuple[float, bool]] = []

    def update(self, thing: str, shadow: str, request: Mapping[str, Any]) -> Deferred[Any]:
        leaves = flatten(request["state"])
        self.sent.append((self._clock.seconds(), None in leaves.values()))
        assert len({value is None for value in leaves.values()}) == 1
        return super().update(thing, shadow, request)


def test_deletes_stand_alone_where_the_backend_merges(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "shadows.sqlite", Quiet)
    backend = bench.backend
    assert isinstance(backend, Quiet)
    bench.site.set(voltage=12.0, health=99.0)
    for step in range(120):
        bench.site.set(voltage=12.0 + step)
        if step == 30:
            del bench.site.values["victron-battery"][("health",)]
        bench.run(1)
    deletes = [at for at, is_delete in backend.sent if is_delete]
    assert len(deletes) == 1
    assert all(abs(at - deletes[0]) >= 5.0 for at, is_delete in backend.sent if not is_delete)
    assert bench.reported() == {"voltage": 12.0 + 119}
    assert len(backend.sent) > 100
    assert next(iter(bench.sync.shadows())).unverified
    bench.result(bench.sync.stopService())


def test_what_waits_for_quiet_at_the_end_is_deleted_after_the_next_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "shadows.sqlite", Quiet)
    bench.site.set(voltage=12.0, health=99.0)
    bench.run(20)
    bench.site.set(voltage=13.0)
    bench.run(2)
    del bench.site.values["victron-battery"][("health",)]
    bench.result(bench.sync.stopService())
    again = Bench(tmp_path / "shadows.sqlite", Quiet)
    again.site.set(voltage=13.0)
    again.run(30)
    assert again.reported() == {"voltage": 13.0}
    again.result(again.sync.stopService())


def test_too_many_requests_leave_the_way_to_what_is_critical(bench: Bench) -> None:
    bench.site.set(voltage=12.0)
    bench.site.set("victron-gps", power=1.0)
    bench.run(30)
    bench.backend.fault = "throttle"
    bench.site.set(voltage=13.0)
    bench.run(1.1)
    bench.backend.fault = ""
    bench.site.set("victron-gps", power=100.0)
    requests = bench.backend.requests
    bench.run(3)
    assert bench.backend.requests - requests == 2  # read again and written: the battery's
    assert bench.reported() == {"voltage": 13.0}
    bench.run(30)
    assert bench.reported("victron-gps") == {"power": 100.0}
