"""What Prometheus scrapes at /metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from victron_twin.twin.readings import Trouble

from .health import BadInput, Health


class Metrics(Collector):
    """Reads the services when it is asked."""

    def __init__(self, health: Health, bad_input: BadInput) -> None:
        self._health = health
        self._bad_input = bad_input

    def collect(self) -> Iterator[Metric]:
        health = self._health
        yield _gauge("victron_twin_uptime_seconds", "Seconds since the start", [((), health.uptime())])
        yield _gauge("victron_twin_healthy", "1 while /health answers 200", [((), float(health.healthy()))])
        gxs = [((gx.status.host,), gx) for gx in health.gxs]
        yield _gauge(
            "victron_twin_gx_connected",
            "1 while the MQTT session is up",
            [(labels, float(gx.status.connected)) for labels, gx in gxs],
            "host",
        )
        yield _gauge(
            "victron_twin_gx_live",
            "1 while the GX publishes and its picture is complete",
            [(labels, float(gx.live)) for labels, gx in gxs],
            "host",
        )
        yield _counter(
            "victron_twin_gx_messages",
            "MQTT messages from the GX",
            [(labels, gx.status.messages) for labels, gx in gxs],
            "host",
        )
        yield _counter(
            "victron_twin_gx_connection_attempts",
            "Connections tried",
            [(labels, gx.status.attempts) for labels, gx in gxs],
            "host",
        )
        yield _counter(
            "victron_twin_bad_input",
            "Messages that gave no value, by kind",
            [((kind.value,), self._bad_input.counts[kind]) for kind in Trouble],
            "kind",
        )
        shadows = health.sync.shadows()
        yield _counter(
            "victron_twin_shadow_updates",
            "Updates that the backend acknowledged",
            [((s.thing, s.name), s.updates) for s in shadows],
            "thing",
            "shadow",
        )
        yield _counter(
            "victron_twin_shadow_failures",
            "Updates that failed",
            [((s.thing, s.name), s.failures) for s in shadows],
            "thing",
            "shadow",
        )
        yield _gauge(
            "victron_twin_shadow_version",
            "The shadow's version at the last acknowledgement",
            [((s.thing, s.name), s.ledger.version) for s in shadows],
            "thing",
            "shadow",
        )
        yield _gauge(
            "victron_twin_oldest_unacknowledged_seconds",
            "How long the oldest update has been waiting",
            [((), health.sync.waiting())],
        )


def registry(health: Health, bad_input: BadInput) -> CollectorRegistry:
    """A registry of its own: nothing here is global."""
    made = CollectorRegistry()
    made.register(Metrics(health, bad_input))
    return made


Samples = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, text: str, samples: Samples, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), samples)


def _counter(name: str, text: str, samples: Samples, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    for values, number in samples:
        family.add_metric(values, number)
    return family
