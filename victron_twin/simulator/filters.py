"""Topic filters of MQTT subscriptions."""

from __future__ import annotations


def is_filter(text: str) -> bool:
    """Whether a text may stand in a SUBSCRIBE: ``N/+/system/0/Serial``, ``N/#``."""
    levels = text.split("/")
    return bool(text) and "#" not in "".join(levels[:-1]) and all(len(x) == 1 or not set("+#") & set(x) for x in levels)


def matches(wanted: str, topic: str) -> bool:
    """Whether a valid filter takes a topic in. A wildcard at its start does not stand for ``$SYS`` and its like."""
    if topic[:1] == "$" and wanted[0] in "+#":
        return False
    levels = topic.split("/")
    wanted_levels = wanted.split("/")
    for at, level in enumerate(wanted_levels):
        if level == "#":
            return True
        if at == len(levels) or level not in ("+", levels[at]):
            return False
    return len(levels) == len(wanted_levels)
