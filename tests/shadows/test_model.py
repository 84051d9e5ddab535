"""The model of Greengrass as a backend: it does what every backend does, so that simulations may rely on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from tests.asynchronous import wait
from tests.emulators.cloud import Cloud
from tests.emulators.shadow_manager import ShadowManager
from tests.simulation.backends import ModelBackend
from victron_twin.shadows.backend import Document, NotFound, ShadowBackend, Throttled, Unavailable
from victron_twin.shadows.cloud_view import CloudSide

from .backend_contract import NAME, BackendContract

THING = "t"


def conforms(backend: ModelBackend) -> tuple[ShadowBackend, CloudSide]:
    """Checked by mypy: the class has the interfaces' form."""
    return backend, backend


class TestModel(BackendContract):
    versions_go_on = False

    @pytest.fixture
    def backend(self) -> Iterator[ShadowBackend]:
        clock = IReactorTime(reactor)
        cloud = Cloud(clock)
        backend = ModelBackend(ShadowManager(clock, cloud), cloud)
        wait(backend.start())
        yield backend
        wait(backend.stop())


class Core:
    def __init__(self) -> None:
        self.clock = Clock()
        self.cloud = Cloud(self.clock)
        self.manager = ShadowManager(self.clock, self.cloud)
        self.backend = ModelBackend(self.manager, self.cloud)
        self.backend.start()

    def result(self, deferred: Deferred[Document]) -> object:
        """What became of a request, once the sync had its turn: the document or the error."""
        results: list[object] = []
        deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
        self.clock.pump([0, 0, 0])
        (result,) = results
        return result


def test_the_clouds_own_document() -> None:
    core = Core()
    accepted: list[tuple[str, str, int, int]] = []
    end = core.backend.on_cloud(lambda *told: accepted.append(told))
    assert isinstance(core.result(core.backend.cloud_document(THING, NAME)), NotFound)
    core.result(core.backend.update(THING, NAME, {"state": {"reported": {"a": 1}}}))
    document = core.result(core.backend.cloud_document(THING, NAME))
    assert isinstance(document, dict)
    assert document["state"] == {"reported": {"a": 1}}
    assert accepted == [(THING, NAME, 1, 0)]
    core.cloud.online = False
    assert isinstance(core.result(core.backend.cloud_document(THING, NAME)), Unavailable)
    core.cloud.online = True
    end()
    core.result(core.backend.update(THING, NAME, {"state": {"reported": {"a": 2}}}))
    assert len(accepted) == 1


def test_too_many_requests() -> None:
    core = Core()
    results = [core.backend.get(THING, NAME) for _ in range(21)]
    errors = [type(core.result(result)) for result in results]
    assert errors == [NotFound] * 20 + [Throttled]


def test_who_was_killed_hears_nothing() -> None:
    core = Core()
    heard: list[object] = []
    core.backend.watch(heard.append)
    core.backend.on_cloud(lambda *told: heard.append(told))
    core.backend.kill()
    core.manager.update(THING, NAME, {"state": {"desired": {"a": 1}}})
    core.clock.pump([0, 0, 0])
    assert heard == []
    assert isinstance(core.result(core.backend.get(THING, NAME)), Unavailable)


def test_a_nucleus_that_was_away() -> None:
    core = Core()
    missed: list[int] = []
    core.backend.watch(lambda delta: None, lambda: missed.append(1))
    core.backend.reconnect()
    assert missed == [1]
