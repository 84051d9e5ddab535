"""One device on the GX's bus: its paths as last heard, and its fields as they are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from victron_twin.catalog import Catalog
from victron_twin.catalog.model import Field

from .flat import Path
from .readings import Trouble, Unreadable, Value, fit
from .rules import RULES, Memory
from .sheet import Sheet

#: A value that became invalid is shown this long still: nulls are often transient. In s.
HOLD = 10.0

#: Tells of a value that cannot be shown: (what is wrong, where, the value).
Report = Callable[[Trouble, str, object], None]


class Slot:
    """One D-Bus path of one device. ``raw`` is the last payload, ``value`` what it said (None: nothing)."""

    __slots__ = ("at", "device", "feeds", "maximum", "minimum", "naming", "path", "raw", "value")

    def __init__(self, device: Device, path: str) -> None:
        self.device = device
        self.path = path
        self.raw = b""
        self.value: Any = None
        self.minimum: float | None = None
        self.maximum: float | None = None
        self.at = 0.0
        self.feeds: tuple[Live, ...] = ()
        self.naming = False  #: tells which device is the primary of a service

    def __str__(self) -> str:
        return f"{self.device}{self.path}"

    def empty(self) -> None:
        """Forget the value: the path is not on the bus."""
        self.raw, self.value = b"", None


class Live:
    """One field of one device: from the slots it is made of to the value that is shown."""

    __slots__ = (
        "_memory",
        "device",
        "field",
        "hidden",
        "invalid_since",
        "leaf",
        "path",
        "sheet",
        "shown",
        "slots",
    )

    def __init__(
        self, device: Device, field: Field, path: Path, slots: tuple[Slot, ...], memory: Memory | None, hidden: bool
    ) -> None:
        """``hidden``: an action or a setpoint; the shadow shows what was last asked under its name, not the reading.

        ``memory`` is there where the field has a rule. ``leaf`` is where it stands in ``sheet``, as soon as it does.
        """
        self.hidden = hidden
        self.device = device
        self.field = field
        self.path = path
        self.slots = slots
        self.shown: Value = device.restored.pop(path, None)
        self.invalid_since: float | None = None
        self._memory = memory
        self.sheet: Sheet | None = None
        self.leaf = path

    def __str__(self) -> str:
        return f"{self.device} {'.'.join(self.path)}"

    def look(self, now: float, catalog: Catalog, report: Report) -> bool:
        """Make the value anew; true where what is shown has changed.

        An invalid one stays shown for the hold; ``invalid_since`` is set meanwhile.
        """
        memory = self._memory
        if memory is None:
            raw = self.slots[0].value
        else:
            memory.now = now
            raw = RULES[self.field.rule]([slot.value for slot in self.slots], memory)
        try:
            value = fit(raw, self.field, catalog)
        except Unreadable as error:
            value = None
            report(error.trouble, str(self), raw)
        if memory is not None and memory.kept.pop("implausible", 0.0):
            report(Trouble.IMPLAUSIBLE, str(self), raw)
        if value is not None:
            self.invalid_since = None
        elif not self._held(now):
            return False
        elif self.field.name == "state":
            # A key of this name is never removed: Shadow Manager loses a patch that deletes it.
            value = "Unknown"
        if value == self.shown and type(value) is type(self.shown):
            return False
        self.shown = value
        return True

    def _held(self, now: float) -> bool:
        """Whether the hold of an invalid value is over."""
        if self.invalid_since is None:
            self.invalid_since = now
        return self.shown is None or now - self.invalid_since >= HOLD


class Device:
    """A service with its instance: ``battery/512``.

    ``restored`` holds leaves that an earlier run has shown and that were not heard of again yet.
    """

    __slots__ = ("connected", "fields", "heard", "instance", "restored", "service", "since", "slots")

    def __init__(self, service: str, instance: str) -> None:
        self.service = service
        self.instance = instance
        self.connected = False
        self.since = 0.0
        self.heard = 0.0
        self.slots: dict[str, Slot] = {}
        self.fields: dict[Path, Live] = {}
        self.restored: dict[Path, Value] = {}

    def __str__(self) -> str:
        return f"{self.service}/{self.instance}"

    def slot(self, path: str) -> Slot:
        """The slot of a path, made where it is new."""
        slot = self.slots.get(path)
        if slot is None:
            slot = self.slots[path] = Slot(self, path)
        return slot


def number(instance: str) -> int | str:
    """An instance as a shadow shows it."""
    return int(instance) if instance.isdigit() else instance
