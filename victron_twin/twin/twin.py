"""The twin of one GX: what was heard of it, as the documents of its shadows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from itertools import chain
from typing import Any

from victron_twin.catalog import Catalog
from victron_twin.catalog.commands import Class
from victron_twin.catalog.model import Kind, Layout, ShadowKind, fill

from .devices import Device, Live, Report, Slot, number
from .flat import Path, dotted, flatten
from .identity import Arrivals
from .position import EXACT, Positions, Privacy
from .primary import SYSTEM_BATTERY, Chooser, Key, is_naming
from .readings import Trouble, Unreadable, decode, is_number
from .rules import TIMED, Memory
from .sheet import OWN, Sheet
from .topics import Topic, parse

#: More topics than any site has; beyond it, new ones are not looked at.
MOST_TOPICS = 20_000

LAST_UPDATE: Path = ("lastUpdate",)
#: The service whose positions are private.
GPS = "gps"


def _quiet(trouble: Trouble, where: str, value: object) -> None:
    """No report: the same value was told of when it came."""


def iso(seconds: float) -> str:
    """``2024-01-15T14:30:00Z``."""
    return _iso(int(seconds))


@lru_cache(maxsize=64)
def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Twin:
    """Takes the messages of one GX, gives the documents of its shadows.

    ``select(service, instance, path)`` says what is included. ``configured`` and ``remembered`` are primaries by
    service; the latter is kept up to date here, and ``changed`` tells of a change, for whoever stores and logs it.
    ``moved`` tells of a device that has come back under another instance. ``raw(service, path)`` says which paths that
    no table has are passed on.
    Times are epoch seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        report: Report,
        *,
        select: Callable[[str, str, str], bool] = lambda service, instance, path: True,
        configured: Mapping[str, Key] | None = None,
        remembered: Mapping[str, Key] | None = None,
        changed: Callable[[str, Key | None, Key], None] = lambda service, old, new: None,
        moved: Callable[[Key, Key], None] = lambda old, new: None,
        privacy: Privacy = EXACT,
        raw: Callable[[str, str], bool] = lambda service, path: False,
    ) -> None:
        self.catalog = catalog
        self.devices: dict[Key, Device] = {}
        self.complete = False
        self._primaries = Chooser(configured or {}, remembered or {}, changed)
        self._report = report
        self._select = select
        self._moved = moved
        self._raw = raw
        self._positions = Positions(privacy)
        self._arrivals = Arrivals()
        self._portal: str | None = None
        self._slots: dict[bytes, Slot | None] = {}
        self._restored: set[str] = set()
        self._required = {name: [tuple(n.split(".")) for n in catalog.required(name)] for name in catalog.shadows}
        self._sheets: dict[str, Sheet] = {}
        self._moved_lives: list[Live] = []
        self._stale: set[str] = set()
        self._heard: list[Slot] = []  # since the last look
        self._dirty: set[Live] = set()
        self._held: set[Live] = set()
        self._timed: set[Live] = set()

    @property
    def primaries(self) -> dict[str, Key]:
        """The device at the top of each shadow that has one, by service."""
        return self._primaries.now

    # what is heard

    @property
    def portal(self) -> str | None:
        """The portal id whose topics are looked at."""
        return self._portal

    @portal.setter
    def portal(self, portal: str) -> None:
        if portal != self._portal:
            self._portal = portal
            self._slots.clear()

    def receive(self, topic: bytes, payload: bytes, now: float) -> None:
        """Take one message of a device. The hot path: a topic seen before leads straight to its slot."""
        try:
            slot = self._slots[topic]
        except KeyError:
            slot = self._admit(topic)
        if slot is None:
            return
        device = slot.device
        if not payload:
            slot.empty()
            self._turn(device, False, now)
            return
        slot.at = device.heard = now
        if not device.connected:
            self._back(device, now)
        if payload == slot.raw:
            return
        slot.raw = payload
        if slot.feeds or slot.naming:
            self._read(slot)
            self._heard.append(slot)
            if slot.naming:
                self._primaries.undecided = True

    def _read(self, slot: Slot) -> None:
        try:
            read = decode(slot.raw)
        except Unreadable as error:
            slot.value = None
            self._report(error.trouble, str(slot), slot.raw[:80])
        else:
            slot.value = read["value"]
            if len(read) > 1:
                slot.minimum, slot.maximum = _bound(read.get("min")), _bound(read.get("max"))

    def oversized(self, topic: bytes, size: int, now: float) -> None:
        """A message came whose payload was too long to be read: what it would have said is not known."""
        slot = self._slots.get(topic)
        self._report(Trouble.OVERSIZED, topic[:80].decode("utf-8", "replace"), f"{size} bytes")
        if slot is not None:
            slot.raw, slot.value, slot.at = b"oversized", None, now
            self._dirty.update(slot.feeds)

    def _admit(self, topic: bytes) -> Slot | None:
        """The first message on a topic: find what it feeds. None where it feeds nothing of a known service."""
        if len(self._slots) >= MOST_TOPICS:
            self._report(Trouble.TOPIC, "more topics than are looked at", topic[:80])
            return None
        parsed = parse(topic)
        slot = None
        if not isinstance(parsed, Topic):
            self._report(Trouble.TOPIC, topic[:80].decode("utf-8", "replace"), None)
        elif parsed.portal == self.portal and (
            self.catalog.uses(parsed.service) or self._raw(parsed.service, parsed.path)
        ):
            slot = self.device(parsed.service, parsed.instance).slot(parsed.path)
            slot.naming = parsed.service == "system" and is_naming(parsed.path)
            if self._select(parsed.service, parsed.instance, parsed.path):
                self._feed(slot)
        self._slots[topic] = slot
        return slot

    def _feed(self, slot: Slot) -> None:
        """Make the fields that this slot is a source of, where they are not there yet."""
        device = slot.device
        matches = self.catalog.match(device.service, slot.path)
        if not matches and self._raw(device.service, slot.path):
            matches = self.catalog.untold(device.service, slot.path)
        for row, binding in matches:
            owner = device
            if row.service != device.service:
                if device.instance != "0":
                    continue
                owner = self.device(row.service, "0")
            path = ("raw", slot.path[1:]) if row.kind is Kind.RAW else tuple(fill(row.name, binding).split("."))
            if path in owner.fields:
                continue
            slots = tuple(
                (owner if source.service == owner.service else self.device(source.service, "0")).slot(
                    fill(source.path, binding)
                )
                for source in row.sources
            )
            command = self.catalog.commands.of(row.shadow, dotted(path), row.service) if row.writable else None
            hidden = command is not None and command.kind is not Class.SETTING
            if path in owner.restored:
                self._touch(owner.service)  # the sheet has its leaf, and not yet its field
            live = Live(owner, row, path, slots, Memory(self.catalog, binding), hidden)
            owner.fields[path] = live
            for each in slots:
                if each.raw and not each.feeds:
                    self._read(each)
                each.feeds = (*each.feeds, live)
            self._dirty.add(live)
            if row.rule in TIMED:
                self._timed.add(live)

    def device(self, service: str, instance: str) -> Device:
        """The device, made where it is new."""
        key = service, instance
        device = self.devices.get(key)
        if device is None:
            device = self.devices[key] = Device(service, instance)
        return device

    def _back(self, device: Device, now: float) -> None:
        self._turn(device, True, now)
        self._arrivals.add((device.service, device.instance), now)
        self._dirty.update(device.fields.values())

    def _turn(self, device: Device, connected: bool, now: float) -> bool:
        """Mark a device as there or gone; true where that is news."""
        if device.connected is connected:
            return False
        device.connected, device.since = connected, now
        self._touch(device.service)
        self._primaries.undecided = True
        return True

    def _touch(self, service: str) -> None:
        """What a device of this service shows has changed."""
        kind = self.catalog.shadow_of(service)
        if kind is not None:
            self._stale.add(kind.name)

    # what the link knows

    def silent(self, now: float) -> None:
        """Neither heartbeat nor value: nothing is live."""
        for device in self.devices.values():
            self._turn(device, False, now)

    def seen(self, since: float) -> tuple[int, bool]:
        """How many paths were heard since then, and whether they make a plausible picture of a GX."""
        slots = [s for d in self.devices.values() for s in d.slots.values() if s.at >= since]
        services = {s.device.service for s in slots}
        return len(slots), {"system", "settings", "platform"} <= services

    def settle(self) -> None:
        """The first full publish is complete: documents may be written with what there is."""
        if not self.complete:
            self.complete = self._primaries.undecided = True
            self._stale.update(self.catalog.shadows)

    def prune(self, since: float, now: float) -> None:
        """Full publishes that can be trusted began then: what was not heard since is not on the bus."""
        for device in self.devices.values():
            if device.heard < since:
                self._turn(device, False, now)
            if not device.connected:
                continue
            if device.restored:
                device.restored.clear()
                self._touch(device.service)
            for slot in device.slots.values():
                if slot.at < since and slot.raw:
                    slot.empty()
                    self._dirty.update(slot.feeds)
                    self._primaries.undecided = True

    def restore(self, shadow: str, reported: Mapping[str, Any]) -> None:
        """Take up what an earlier run has shown; it stands until the GX is heard, or is silent for too long."""
        kind = self.catalog.shadows[shadow]
        self._restored.add(shadow)
        self._stale.add(shadow)
        self._primaries.undecided = True
        top = {k: v for k, v in reported.items() if k not in ("devices", "commands", *OWN)}
        if kind.layout is Layout.PRIMARY and (top or "connected" in reported):
            service = kind.services[0]
            instance = reported.get("deviceInstance")
            key = SYSTEM_BATTERY if service == "battery" and instance is None else (service, str(instance or 0))
            self._primaries.restore(service, key)
            self._restore(key, {**top, "since": reported.get("since"), "connected": reported.get("connected")})
        devices = reported.get("devices")
        for name, leaves in devices.items() if isinstance(devices, dict) else ():
            service, _, instance = name.partition("-") if kind.layout is Layout.MIXED else (kind.services[0], "", name)
            if service and isinstance(leaves, dict):
                self._restore((service, instance), leaves)

    def _restore(self, key: Key, leaves: Mapping[str, Any]) -> None:
        device = self.device(*key)
        since = leaves.get("since")
        if not device.since and isinstance(since, str):
            device.since = _epoch(since)
            device.connected = leaves.get("connected") is True
        if key[0] == GPS:
            self._positions.of(key[1]).restore(leaves.get("latitude"), leaves.get("longitude"))
        for path, value in flatten({k: v for k, v in leaves.items() if k not in OWN}).items():
            live = device.fields.get(path)
            if live is None:
                device.restored[path] = value
            elif live.shown is None:
                live.shown = value

    # what is shown

    def sheets(self, now: float) -> dict[str, Sheet]:
        """The reported section of each shadow that the site has devices for, as things are now.

        Before the first full publish is complete only those that an earlier run has written.
        """
        self._mirror(now)
        self._look(now)
        self._recognise(now)
        self._choose(now)
        for name in self._stale:
            if self.complete or name in self._restored:
                self._make(self.catalog.shadows[name])
        self._stale.clear()
        for live in self._moved_lives:
            self._set(live)
        self._moved_lives.clear()
        heard: dict[str, float] = {}
        for device in self.devices.values():
            if device.heard > heard.get(device.service, 0.0):
                heard[device.service] = device.heard
        for name, sheet in self._sheets.items():
            newest = max(heard.get(service, 0.0) for service in self.catalog.shadows[name].services)
            if not newest or sheet.values.get(LAST_UPDATE) == iso(newest):
                continue
            if LAST_UPDATE in sheet.values:
                sheet.set(LAST_UPDATE, iso(newest))
            else:
                self._sheets[name] = Sheet({**sheet.values, LAST_UPDATE: iso(newest)}, sheet.fields, followed=True)
        return dict(self._sheets)

    def _set(self, live: Live) -> None:
        """Another value of a leaf that is there; where it comes or goes, the sheet has been made anew."""
        device = live.device
        kind = self.catalog.shadow_of(device.service)
        sheet = self._sheets.get(kind.name) if kind is not None else None
        place = self._place(kind, device) if kind is not None else None
        if sheet is None or place is None:
            return
        path = place + live.path
        if path in sheet.fields and sheet.values[path] != live.shown:
            sheet.set(path, live.shown)

    def _make(self, kind: ShadowKind) -> None:
        """One shadow's sheet anew; none where the site has no device for it."""
        self._sheets.pop(kind.name, None)
        sheet = Sheet(followed=True)
        for device, place in self.placed(kind):
            self._fill(sheet, device, place)
        if not sheet.values:
            return
        if kind.layout is Layout.PRIMARY and ("connected",) not in sheet.values:
            # Its primary was named and never heard: that it is not there is said at the top all the same.
            key = self.primaries.get(kind.services[0])
            if key is not None:
                self._fill(sheet, self.device(*key), ())
        if kind.layout is Layout.PRIMARY:
            missing = [path for path in self._required[kind.name] if path not in sheet.values]
            sheet.values[("missing",)] = " ".join(map(dotted, missing))
        self._sheets[kind.name] = sheet

    def placed(self, kind: ShadowKind) -> Iterator[tuple[Device, Path]]:
        """The devices that stand in a shadow, and where."""
        for key, device in self.devices.items():
            if device.service not in kind.services or not device.since:
                continue
            place = self._place(kind, device)
            if place is not None and (device.fields or device.restored or self._primaries.is_configured(key)):
                yield device, place

    def _mirror(self, now: float) -> None:
        """The system's view of the battery is there while the system is, once it has shown anything."""
        view, system = self.devices.get(SYSTEM_BATTERY), self.devices.get(("system", "0"))
        if view is None or system is None:
            return
        if view.since or any(slot.value is not None for live in view.fields.values() for slot in live.slots):
            view.heard = system.heard
            if self._turn(view, system.connected, now):
                self._dirty.update(view.fields.values())

    def _look(self, now: float) -> None:
        for slot in self._heard:
            self._dirty.update(slot.feeds)
        self._heard.clear()
        for live in self._dirty:
            if live.device.connected:
                self._look_at(live, now, self._report)
                if live.invalid_since is not None:
                    self._held.add(live)
        self._dirty.clear()
        for live in chain(self._timed, tuple(self._held)):
            if live.device.connected:
                self._look_at(live, now, _quiet)
        self._held = {live for live in self._held if live.invalid_since is not None and live.shown is not None}

    def _look_at(self, live: Live, now: float, report: Report) -> None:
        before = live.shown
        if live.look(now, self.catalog, report):
            if before is None or live.shown is None or live.device.service == GPS:
                self._touch(live.device.service)
            else:
                self._moved_lives.append(live)

    def _place(self, kind: ShadowKind, device: Device) -> Path | None:
        """Where a device stands in its shadow; None: nowhere."""
        if kind.layout is Layout.MIXED:
            return "devices", f"{device.service}-{device.instance}"
        key = device.service, device.instance
        if kind.layout is Layout.PRIMARY:
            if self.primaries.get(kind.services[0]) == key:
                return ()
            if key == SYSTEM_BATTERY:
                return None
        return "devices", device.instance

    def _fill(self, sheet: Sheet, device: Device, place: Path) -> None:
        own: dict[str, Any] = {"connected": device.connected, "since": iso(device.since)}
        if (device.service, device.instance) == SYSTEM_BATTERY:
            own["source"] = "system/0/Dc/Battery"
        else:
            own["deviceInstance"] = number(device.instance)
        sheet.values.update({(*place, name): value for name, value in own.items()})
        for path, value in device.restored.items():
            sheet.values[place + path] = value
        for path, live in device.fields.items():
            if live.shown is not None and not live.hidden:
                sheet.values[place + path] = live.shown
                sheet.fields[place + path] = live.field
        if device.service == GPS:
            self._positions.hide(sheet.values, place, device.instance)

    def _recognise(self, now: float) -> None:
        """Take a device that came back under another instance for the same one: it has moved, it is not a second."""
        for old, new in self._arrivals.moved(self.devices, now) if self.complete else ():
            gone = self.devices.pop(old)
            self._slots = {t: slot for t, slot in self._slots.items() if slot is None or slot.device is not gone}
            if old[0] == GPS:
                self._positions.moved(old[1], new[1])
            self._primaries.moved(old, new)
            self._touch(old[0])
            self._moved(old, new)

    def _choose(self, now: float) -> None:
        """Find the primaries anew, once the picture is complete."""
        if not (self.complete and self._primaries.undecided):
            return
        services = [k.services[0] for k in self.catalog.shadows.values() if k.layout is Layout.PRIMARY]
        for service, key in self._primaries.find(services, self.devices, now):
            if key != SYSTEM_BATTERY:
                device = self.device(*key)
                device.since = device.since or now
            self._touch(service)


def _bound(raw: object) -> float | None:
    return raw if is_number(raw) else None


def _epoch(text: str) -> float:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
