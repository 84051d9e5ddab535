"""The topics of a GX: ``N/<portal id>/<service>/<instance>/<D-Bus path>``, and the few of another form."""

from __future__ import annotations

from dataclasses import dataclass

#: Topics right under the portal id that belong to no device.
HEARTBEAT = "heartbeat"
COMPLETED = "full_publish_completed"
KEEPALIVE = "keepalive"


@dataclass(frozen=True, slots=True)
class Topic:
    """``N/c0619ab2d3e4/battery/512/Dc/0/Voltage`` taken apart.

    The instance is a text: it may be an identifier (a service without ``/DeviceInstance``), and 0 is one.
    """

    portal: str
    service: str
    instance: str
    path: str

    def under(self, kind: str) -> str:
        """The same as a topic to write (``W``) or read (``R``)."""
        return f"{kind}/{self.portal}/{self.service}/{self.instance}{self.path}"


@dataclass(frozen=True, slots=True)
class Notice:
    """``N/<portal id>/heartbeat`` and the like."""

    portal: str
    name: str


def parse(topic: bytes) -> Topic | Notice | None:
    """Take a topic apart; None where it is none of a GX's, or has another form."""
    try:
        kind, portal, *rest = topic.decode("utf-8").split("/")
    except (UnicodeDecodeError, ValueError):
        return None
    if kind != "N" or not portal or not rest or not all(rest):
        return None
    if len(rest) == 1:
        return Notice(portal, rest[0])
    if len(rest) == 2 or rest[0] == "GuiCustomizations":
        return None
    return Topic(portal, rest[0], rest[1], "/" + "/".join(rest[2:]))
