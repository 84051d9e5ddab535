"""The AC part of ``system/0``: what comes from the grid, the generator and PV inverters, and what is used."""

from __future__ import annotations

from dataclasses import dataclass

from victron_twin.simulator.bus import Bus, Service, Value

#: The sources of an AC input as settings number them, and what is counted as the grid.
UNUSED, GRID, GENERATOR, SHORE, NONE = 0, 1, 2, 3, 240
#: Where a PV inverter is: its ``/Position``.
_ON_INPUT, _ON_OUTPUT, _ON_SECOND_INPUT = 0, 1, 2
_PHASES = (1, 2, 3)


@dataclass(frozen=True)
class _Flow:
    """Power (W) and current (A) on one phase; None where nobody measures it."""

    power: Value = None
    current: Value = None

    def __add__(self, other: _Flow) -> _Flow:
        return _Flow(_sum(self.power, other.power), _sum(self.current, other.current))

    def less(self, other: _Flow) -> _Flow:
        """What is left of it, nothing at least."""
        return _Flow(_rest(self.power, other.power), _rest(self.current, other.current))


def refresh(it: Service, settings: Service, bus: Bus) -> None:
    """Work the AC part out anew."""
    vebus, grid, genset = bus.first("vebus"), bus.first("grid"), bus.first("genset")
    inputs = [settings[f"/Settings/SystemSetup/AcInput{number}"] for number in (1, 2)]
    connected = vebus is not None and vebus["/Ac/ActiveIn/Connected"] == 1
    active = 1 if vebus is not None and vebus["/Ac/ActiveIn/ActiveInput"] == 1 else 0
    source = inputs[active] if connected else NONE
    pv = {name: _solar(it, bus, name, position) for name, position in _positions(inputs)}
    taken = _phases(vebus if connected else None, "/Ac/ActiveIn/L{}/P", "/Ac/ActiveIn/L{}/I")
    out = _phases(vebus, "/Ac/Out/L{}/P", "/Ac/Out/L{}/I")
    from_grid = _measured(grid) or (taken if connected and source in (GRID, SHORE) else {})
    from_genset = _measured(genset) or (taken if connected and source == GENERATOR else {})
    _show(it, "Grid", from_grid)
    _show(it, "Genset", from_genset)
    _show(it, "ActiveIn", taken)
    on_output = {phase: out[phase] + pv["PvOnOutput"].get(phase, _Flow()) for phase in out}
    on_input = {}
    if grid is not None:
        through = taken if source in (GRID, SHORE) else {}
        supply = {phase: flow + pv["PvOnGrid"].get(phase, _Flow()) for phase, flow in from_grid.items()}
        on_input = {phase: flow.less(through.get(phase, _Flow())) for phase, flow in supply.items()}
    _show(it, "ConsumptionOnOutput", on_output)
    _show(it, "ConsumptionOnInput", on_input)
    used = {p: on_output.get(p, _Flow()) + on_input.get(p, _Flow()) for p in _PHASES if p in on_output or p in on_input}
    _show(it, "Consumption", used)
    _inputs(it, inputs, active if connected else None, {GRID: grid, SHORE: grid, GENERATOR: genset}, vebus)
    it.update(
        {
            "/Ac/ActiveIn/Source": None if vebus is None else source,
            "/Ac/ActiveIn/ServiceType": it[f"/Ac/In/{active}/ServiceType"] if connected else None,
            "/Ac/Grid/DeviceType": None if grid is None else grid.get("/DeviceType"),
            "/Ac/Grid/ProductId": None if grid is None else grid["/ProductId"],
            "/Ac/Genset/ProductId": None if genset is None else genset["/ProductId"],
            "/PvInvertersProductIds": [inverter["/ProductId"] for inverter in bus.kind("pvinverter")] or None,
            "/Devices/NumberOfVebusDevices": 0 if vebus is None else 1,
            "/SystemState/State": None if vebus is None else vebus["/State"],
            "/VebusInstance": None if vebus is None else vebus.instance,
            "/VebusService": None if vebus is None else vebus.name,
        }
    )
    if vebus is not None:
        for number, each in enumerate(inputs, 1):
            vebus.put(f"/Settings/SystemSetup/AcInput{number}", each)


def _sum(one: Value, other: Value) -> Value:
    if one is None or other is None:
        return other if one is None else one
    return _number(one) + _number(other)


def _rest(one: Value, other: Value) -> Value:
    return None if one is None else max(0.0, _number(one) - _number(other))


def _number(value: Value) -> float:
    return value if isinstance(value, (int, float)) else 0.0


def _phases(service: Service | None, power: str, current: str) -> dict[int, _Flow]:
    """What flows on each phase that a service has."""
    if service is None:
        return {}
    flows = {n: _Flow(service.get(power.format(n)), service.get(current.format(n))) for n in _PHASES}
    return {number: flow for number, flow in flows.items() if flow.power is not None}


def _measured(meter: Service | None) -> dict[int, _Flow]:
    return _phases(meter, "/Ac/L{}/Power", "/Ac/L{}/Current")


def _positions(inputs: list[Value]) -> list[tuple[str, tuple[int, ...]]]:
    """Which positions of a PV inverter are before the grid, and which before the generator."""
    on = dict(zip((_ON_INPUT, _ON_SECOND_INPUT), inputs, strict=True))
    genset = tuple(position for position, source in on.items() if source == GENERATOR)
    grid = tuple(position for position in on if position not in genset)
    return [("PvOnGrid", grid), ("PvOnGenset", genset), ("PvOnOutput", (_ON_OUTPUT,))]


def _solar(it: Service, bus: Bus, name: str, positions: tuple[int, ...]) -> dict[int, _Flow]:
    """The PV inverters at some positions together, shown under a name."""
    flows: dict[int, _Flow] = {}
    for inverter in bus.kind("pvinverter"):
        if inverter["/Position"] in positions:
            for phase, flow in _measured(inverter).items():
                flows[phase] = flow + flows.get(phase, _Flow())
    _show(it, name, flows)
    it.put(f"/Ac/{name}/Total/Power", sum(_number(flow.power) for flow in flows.values()) if flows else None)
    return flows


def _show(it: Service, name: str, flows: dict[int, _Flow]) -> None:
    for phase in _PHASES:
        flow = flows.get(phase, _Flow())
        it.put(f"/Ac/{name}/L{phase}/Power", flow.power)
        it.put(f"/Ac/{name}/L{phase}/Current", flow.current)
    it.put(f"/Ac/{name}/NumberOfPhases", len(flows) or None)


def _inputs(
    it: Service, sources: list[Value], active: int | None, meters: dict[int, Service | None], vebus: Service | None
) -> None:
    """The AC inputs in use, and who measures each."""
    for number in (0, 1):
        source = sources[number]
        used = vebus is not None and source != UNUSED
        meter = meters.get(source) if isinstance(source, int) else None
        by = (meter or vebus) if used else None
        it.update(
            {
                f"/Ac/In/{number}/Connected": int(active == number) if used else None,
                f"/Ac/In/{number}/DeviceInstance": None if by is None else by.instance,
                f"/Ac/In/{number}/VrmDeviceInstance": None if by is None else by.instance,
                f"/Ac/In/{number}/ServiceName": None if by is None else by.name,
                f"/Ac/In/{number}/ServiceType": None if by is None else by.kind,
                f"/Ac/In/{number}/Source": source if used else None,
            }
        )
    it.put("/Ac/In/NumberOfAcInputs", sum(source != UNUSED for source in sources))
