"""What every test has: a failure on unexpected logged errors, seeds, and what the machine offers."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import provider

ExpectErrors = Callable[[str], None]

# Machines are shared: how long an example takes tells nothing.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For what has been tested in full before, on another Python.
settings.register_profile("again", settings.get_profile("shared"), max_examples=20)
settings.load_profile("shared")


def pytest_collection_finish() -> None:
    """All modules are there to stay: no search for garbage, which simulations end with, need go through them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logged_errors() -> Iterator[ExpectErrors]:
    """Fail a test that logs a failure or a critical event which it did not say it expects.

    ``logged_errors("text")`` says that an event whose format or failure holds the text may come.
    """
    seen: list[LogEvent] = []
    expected: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None or event["log_level"].name == "critical":
            seen.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield expected.append
    finally:
        globalLogPublisher.removeObserver(observe)

    def text(event: LogEvent) -> str:
        failure = event.get("log_failure")
        return f"{event.get('log_format')} {failure.getTraceback() if failure is not None else ''}"

    unexpected = [t for t in map(text, seen) if not any(e in t for e in expected)]
    assert not unexpected, "unexpected logged errors:\n" + "\n".join(unexpected)
