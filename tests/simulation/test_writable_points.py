"""Every writable point of the catalogue, written to the large simulated site through the whole service.

The site has nearly all of them; what it lacks is fitted to one of its devices, as the catalogue describes it. In each
round every point gets one desire, as many in one document as fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.world import World, running
from tests.support import CATALOG
from victron_twin.catalog.commands import Class, Command, Wire
from victron_twin.catalog.model import NUMERIC, Field, Kind, Layout, fill
from victron_twin.simulator.bus import Service
from victron_twin.simulator.rules import Rule
from victron_twin.simulator.site import Site
from victron_twin.twin.desires import at
from victron_twin.twin.devices import Device, Live
from victron_twin.twin.flat import dotted, nest
from victron_twin.twin.policy import Limit
from victron_twin.twin.shadow import same
from victron_twin.twin.twin import Twin, iso

#: Desires in one document, so that it stays small, and altogether, so that one page of the audit log shows them.
IN_ONE, TOGETHER = 8, 90
FIRST = {name: placeholder.first for name, placeholder in CATALOG.placeholders.items()}

#: What is written to texts that mean something to the GX; any other text for the rest.
TEXTS: Mapping[str, tuple[str, str]] = {
    "batteryService": ("com.victronenergy.battery/0", "default"),
    "temperatureService": ("com.victronenergy.battery/0", "default"),
    "timezone": ("Europe/Madrid", "Europe/Paris"),
}
#: What the site itself moves on after it was written.
MOVES = ("manualStartTimer",)
#: What changes what other points of the device are: written after them.
LAST = ("outputs.{output}.type", "ess.mode")

#: Points that cannot be driven on the simulated site, each with the reason.
NOT_DRIVEN: Mapping[str, str] = {
    "access.mqtt": "it ends the very link that all the others need: the last test does it alone",
}


@dataclass(frozen=True)
class Point:
    """A writable field of one device of the site."""

    shadow: str
    path: tuple[str, ...]
    command: Command
    live: Live

    @property
    def field(self) -> Field:
        return self.command.field

    @property
    def topic(self) -> str:
        return str(self.live.slots[0])

    def __str__(self) -> str:
        return f"{self.field.service}: {self.shadow}.{dotted(self.path)}"


@dataclass(frozen=True)
class Case:
    """A desire, what becomes of it, a part of the reason, and what is on the bus then (None: whatever was before)."""

    asked: Any
    status: str
    reason: str = ""
    raw: Any = None


def points(twin: Twin) -> list[Point]:
    """One for each writable field, of the first device that has it."""
    found: dict[tuple[str, str, str], Point] = {}
    for device in sorted(twin.devices.values(), key=str):
        for name, live in device.fields.items():
            row = live.field
            key = row.shadow, row.service, row.name
            command = CATALOG.commands.of(row.shadow, dotted(name), row.service) if row.writable else None
            if command is not None and (key not in found or (found[key].live.shown is None and live.shown is not None)):
                found[key] = Point(row.shadow, _path(twin, row.shadow, device, name), command, live)
    return list(found.values())


def _path(twin: Twin, shadow: str, device: Device, name: tuple[str, ...]) -> tuple[str, ...]:
    layout = CATALOG.shadows[shadow].layout
    first = CATALOG.shadows[shadow].services[0]
    if layout is Layout.PRIMARY and (device.service != first or twin.primaries[first] == (first, device.instance)):
        return name
    return ("devices", str(device).replace("/", "-") if layout is Layout.MIXED else device.instance, *name)


def fit_out(site: Site) -> list[Field]:
    """Give the site the points that none of its devices has, writable as the catalogue says; which these are."""
    there: set[Field] = set()
    for service in site.bus:
        for path in list(service.values):
            for field, binding in CATALOG.match(service.kind, path):
                if field.writable and path == field.sources[0].bound(binding).path:
                    there.add(field)
                    _open(service, path, field)
    fitted = []
    for field in (row for shadow in CATALOG.shadows for row in CATALOG.fields(shadow) if row.writable):
        if field in there:
            continue
        fitted.append(field)
        service = next(service for service in site.bus if service.kind == field.sources[0].service)
        for number, source in enumerate(field.sources):
            path = source.bound(FIRST).path
            if number == 0 or path not in service.values:
                service.put(path, _value(field))
                _open(service, path, field)
    return fitted


def _command(field: Field) -> Command:
    command = CATALOG.commands.of(field.shadow, fill(field.name, FIRST), field.service)
    assert command is not None
    return command


def _open(service: Service, path: str, field: Field) -> None:
    """Have a device take all that the catalogue says: a single kind of it may take less."""
    if service.kind != "settings":
        command, old = _command(field), service.rules.get(path, Rule())
        choices = tuple(CATALOG.enum(field.enum)) if field.kind is Kind.ENUM else ()
        limits = (-1e9, 1e9) if field.minimum is None or field.maximum is None else (field.minimum, field.maximum)
        rule = replace(
            old,
            choices=(0, 1) if field.kind is Kind.BOOLEAN else choices,
            limits=limits if field.kind in NUMERIC else None,
            clips=False,
            action=command.kind is Class.ACTION,
            text=command.wire is Wire.TEXT,
        )
        service.rules = {**service.rules, path: rule}


def _value(field: Field) -> Any:
    command = _command(field)
    if command.wire is Wire.TEXT:
        return "as delivered"
    value = next(iter(CATALOG.enum(field.enum))) if field.kind is Kind.ENUM else field.minimum or 0
    return float(value) if command.wire is Wire.DOUBLE else int(value)


class Bench:
    """The large site with all that can be written, and its points."""

    def __init__(self, made: World, fitted: Sequence[Field]) -> None:
        self.made = made
        self.fitted = fitted
        self.core = made.process.core
        self.core.commands.policy = replace(self.core.commands.policy, rate=1000)
        for file in (self.core.commands.journal._open_db, made.local._file._connection):
            file.execute("PRAGMA synchronous = OFF")  # no power is cut here
        self.points = points(self.core.gxs[0].twin)

    def round(self, cases: Mapping[Point, Case]) -> list[str]:
        """Desire one thing of each point, wait, and say where the end state is another."""
        wrong: list[str] = []
        for one_part in _parts(list(cases)):
            reported = {shadow: self.made.reported(shadow) for shadow in {point.shadow for point in one_part}}
            part = [p for p in one_part if not same(at(reported[p.shadow], p.path), cases[p].asked)]  # else not new
            before = {point: self.value(point) for point in part}
            by_shadow: dict[str, dict[tuple[str, ...], Any]] = {}
            for point in part:
                by_shadow.setdefault(point.shadow, {})[point.path] = cases[point].asked
            began = iso(self.made.clock.seconds())
            for shadow, leaves in by_shadow.items():
                self.made.update(shadow, {"state": {"desired": nest(leaves)}})
            steps = self._wait(part, began)
            for point in part:
                why = self._wrong(point, cases[point], before[point], steps)
                if why:
                    wrong.append(f"{point} = {cases[point].asked!r}: {why}")
            self.made.run(1)
            for shadow in by_shadow:
                document = self.made.shadow(shadow)["state"]
                if "delta" in document:
                    wrong.append(f"{shadow}: delta {document['delta']}")
                self.made.update(shadow, {"state": {"desired": None}})
            self.made.run(1)
        return wrong

    def _wait(self, part: list[Point], began: str) -> list[dict[str, Any]]:
        """The steps until all of these desires are settled, or long after."""
        wanted = {(point.shadow, dotted(point.path)) for point in part}
        for _ in range(40):
            self.made.run(1)
            steps = [step for step in self.made.steps() if step["at"] >= began]
            if wanted <= {(step["shadow"], step["field"]) for step in steps if step["step"] == "settled"}:
                break
        return steps

    def _wrong(self, point: Point, case: Case, before: Any, steps: list[dict[str, Any]]) -> str:
        name = dotted(point.path)
        mine = [step for step in steps if step["shadow"] == point.shadow and step["field"] == name]
        if isinstance(case.asked, dict):  # the one before may be let go of meanwhile
            mine = [step for step in mine if step["id"] == case.asked["id"]]
        settled = [step for step in mine if step["step"] == "settled"]
        if len(settled) != 1:
            return f"settled {len(settled)} times: {[(step['step'], step['reason']) for step in mine]}"
        (end,) = settled
        if end["result"] != case.status or case.reason not in end["reason"]:
            return f"{end['result']} ({end['reason']}), not {case.status} ({case.reason})"
        written = [step for step in mine if step["step"] == "written"]
        if written and case.status == "rejected":
            return "it was written"
        now, wanted = self.value(point), before if case.raw is None else case.raw
        if point.field.name in MOVES or point.field.rule not in ("", "first"):
            return ""
        if point.command.kind is not Class.ACTION and case.status == "applied" and now != wanted:
            return f"{point.topic} is {now!r}, not {wanted!r}"
        if point.command.kind is Class.SETTING and now != wanted:
            return f"{point.topic} is {now!r}, not {wanted!r}"
        return ""

    def value(self, point: Point) -> Any:
        """What is on the bus: of several sources of one value that which has one."""
        there = [self.made.site.bus.find(str(slot)) for slot in point.live.slots]
        values = [service[path] for service, path in filter(None, there)]
        return next((value for value in values if value is not None), None)


def _parts(points: list[Point]) -> Iterator[list[Point]]:
    """The points in parts that one document of each shadow holds."""
    waiting = points
    while waiting:
        counts: dict[str, int] = {}
        part: list[Point] = []
        for point in waiting:
            if counts.get(point.shadow, 0) < IN_ONE and len(part) < TOGETHER:
                counts[point.shadow] = counts.get(point.shadow, 0) + 1
                part.append(point)
        yield part
        waiting = [point for point in waiting if point not in part]


def bounds(point: Point) -> tuple[float, float] | None:
    """What the GX publishes, or else the catalogue has."""
    slot, field = point.live.slots[0], point.field
    low = field.minimum if slot.minimum is None else slot.minimum
    high = field.maximum if slot.maximum is None else slot.maximum
    return None if low is None or high is None else (low, high)


def cases(point: Point, now: float) -> list[Case]:
    """What is desired of a point, one after the other."""
    field, command = point.field, point.command
    good: list[tuple[Any, Any]]
    bad: list[tuple[Any, str]]
    if field.kind is Kind.ENUM:
        texts = CATALOG.enum(field.enum)
        good = [(text, code) for code, text in texts.items()] + [(code, code) for code in texts]
        bad = [("Sideways", "must be one of"), (9999, "must be one of"), (True, "must be one of")]
    elif field.kind is Kind.BOOLEAN:
        good, bad = [(True, 1), (False, 0), (1, 1), (0, 0)], [("on", "must be true or false"), (2, "true or false")]
    elif field.kind in NUMERIC:
        span = bounds(point)
        bad = [("lots", "must be a number"), (True, "must be a number")]
        if span is None:
            good, bad = [], [*bad, (10, "has no")]
        else:
            low, high = span
            good, bad = [(low, low), (high, high)], [*bad, (low - 1, "must be from"), (high + 1, "must be from")]
    else:
        good = [(text, text) for text in TEXTS.get(field.name, ("Aft", "Fore"))]
        bad = [(5, "must be a text"), (True, "must be a text")]
    if command.kind is not Class.SETTING:
        action = command.kind is Class.ACTION
        done, form = ("sent", "an action is asked for as") if action else ("applied", "a setpoint is asked for as")
        return [
            *(Case(one(asked, now), done, "", None if action else raw) for asked, raw in good),
            *(Case(one(asked, now), "rejected", why) for asked, why in bad),
            *(Case(asked, "rejected", form) for asked, _ in good[:1]),
            *(Case(one(asked, 0.0), "expired", "it has expired") for asked, _ in good[:1]),
        ]
    return [
        *(Case(asked, "applied", "", raw) for asked, raw in good),
        *(Case(asked, "rejected", why) for asked, why in bad),
        Case([1], "rejected", "a setting is a plain value"),
    ]


NUMBER = iter(range(10**9))


def one(asked: Any, now: float) -> dict[str, Any]:
    """The object of an action or a setpoint."""
    return {"value": asked, "id": f"a{next(NUMBER)}", "expires": iso(now + 80_000)}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    fitted: list[Field] = []

    def site(*args: Any, **more: Any) -> Site:
        made = Site.large(*args, **more)
        fitted.extend(fit_out(made))
        return made

    with running(World(tmp_path, 1, site=site, VICTRON_TWIN_COMMANDS="all")) as made:
        made.run(40)
        yield Bench(made, fitted)


def test_every_writable_point_is_there(bench: Bench) -> None:
    writable = {row for shadow in CATALOG.shadows for row in CATALOG.fields(shadow) if row.writable}
    assert {(p.field.shadow, p.field.service, p.field.name) for p in bench.points} == {
        (row.shadow, row.service, row.name) for row in writable
    }


def go(bench: Bench, plan: Mapping[Point, Sequence[Case]]) -> list[str]:
    wrong: list[str] = []
    for last in (False, True):
        part = {point: own for point, own in plan.items() if (point.field.name in LAST) is last}
        for number in range(max(map(len, part.values()), default=0)):
            wrong += bench.round({point: own[number] for point, own in part.items() if number < len(own)})
    return wrong


def driven(bench: Bench) -> dict[Point, list[Case]]:
    """All cases of all points, with the preconditions met."""
    now = bench.made.clock.seconds()
    return {point: cases(point, now) for point in bench.points if point.field.name not in NOT_DRIVEN}


def meet(bench: Bench, met: bool) -> None:
    """Have the GX show the preconditions of all points, or none of them."""
    for point in bench.points:
        for need in point.command.needs:
            key = str(point.live.device) if need.source.service == point.field.service else "settings/0"
            key = {"system": "system/0"}.get(need.source.service, key)
            topic = f"{key}{need.source.path}"
            if topic not in bench.made.site.values():
                bench.made.site.bus[key].put(need.source.path, need.value)
            bench.made.site.force(topic, need.value if met else need.value + 1)
    bench.made.run(5)


def test_the_last_good_and_the_first_bad_value_of_every_point(bench: Bench) -> None:
    """What the slow test does with all of them."""
    free = {point: own for point, own in driven(bench).items() if not point.command.needs}
    few = {}
    for point, own in free.items():
        good = [case for case in own if case.status in ("applied", "sent")]
        few[point] = [*good[-1:], *[case for case in own if case not in good][:1]]
    assert go(bench, few) == []


@pytest.mark.slow
def test_every_value_of_every_point_ends_as_it_should(bench: Bench) -> None:
    """Each code by text and by number, both ends of each range; then what is out of it, and what has another type."""
    assert go(bench, {point: own for point, own in driven(bench).items() if not point.command.needs}) == []


def test_a_point_is_written_only_while_its_precondition_is_met(bench: Bench) -> None:
    needing = {point: own for point, own in driven(bench).items() if point.command.needs}
    assert len(needing) > 10
    meet(bench, met=False)
    now = {point: own[:1] for point, own in needing.items() if point.command.kind is Class.SETTING}
    refused = {
        point: [replace(own[0], status="rejected", reason=point.command.needs[0].source.path, raw=None)]
        for point, own in now.items()
    }
    assert go(bench, refused) == []
    meet(bench, met=True)
    assert go(bench, needing) == []


def test_a_number_without_any_bound_is_written_within_the_owners_limits_alone(bench: Bench) -> None:
    numbers = [
        point
        for point in bench.points
        if point.field.kind in NUMERIC
        and None in (point.field.minimum, point.field.maximum)
        and point.command.kind is Class.SETTING
    ]
    assert len(numbers) > 10
    for point in numbers:
        point.live.slots[0].minimum = point.live.slots[0].maximum = None
        bench.made.site.bus[str(point.live.device)].ranges.pop(point.live.slots[0].path, None)
    unbounded = {point: [Case(20, "rejected", "commands.limits can give it")] for point in numbers}
    assert go(bench, unbounded) == []
    limits = tuple(Limit(f"{point.shadow}.{dotted(point.path)}", 10.0, 30.0) for point in numbers)
    bench.core.commands.policy = replace(bench.core.commands.policy, limits=limits)
    within = {point: [Case(21, "applied", "", 21), Case(31, "rejected", "commands.limits: ")] for point in numbers}
    assert go(bench, within) == []


def test_what_the_catalogue_guards_is_refused_by_the_default_policy(bench: Bench) -> None:
    bench.core.commands.policy = replace(bench.core.commands.policy, mode="allow-list")
    plan: dict[Point, list[Case]] = {}
    for point, own in driven(bench).items():
        values = [guard.value for guard in point.command.guards if not guard.field]
        guarded = [
            replace(case, status="rejected", reason="not in the default allow-list", raw=None)
            for case in own
            if case.status in ("applied", "sent") and ("*" in values or str(_plain(case)) in values)
        ]
        if guarded:
            plan[point] = guarded[:1]
    assert len(plan) > 50
    assert go(bench, plan) == []


def _plain(case: Case) -> Any:
    return case.asked["value"] if isinstance(case.asked, dict) else case.asked


def test_the_point_that_ends_the_link_is_written_once_and_told(bench: Bench) -> None:
    (point,) = (point for point in bench.points if point.field.name in NOT_DRIVEN)
    made, before = bench.made, len(bench.made.gx.writes)
    made.desire("victron-settings", access={"mqtt": 0})
    made.run(15)
    assert not bench.core.gxs[0].live
    assert bench.value(point) == 0
    made.site.panel(point.topic, 1)
    made.run(200)
    assert bench.core.gxs[0].live
    assert bench.value(point) == 1
    assert len(made.gx.writes) == before + 1
    assert made.result("victron-settings", "access.mqtt")["status"] == "applied"
    assert "delta" not in made.shadow("victron-settings")["state"]
