"""A simulated site whose time passes."""

from __future__ import annotations

from victron_twin.simulator.site import Site


def run(site: Site, seconds: float, step: float = 1.0) -> list[str]:
    """Let time pass with every device refreshed at each step; the topics that were signalled."""
    changes = []
    end = site.time + seconds
    while site.time < end:
        site.advance(min(end, site.time + step))
        for device in site.devices:
            site.refresh(device)
        changes += site.take_changes()
    return changes


def number(site: Site, topic: str) -> float:
    value = site.value(topic)
    assert isinstance(value, (int, float)), f"{topic} is {value!r}"
    return float(value)
