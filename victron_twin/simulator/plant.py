"""The electricity of a large site: inverter/chargers on three phases between the grid, a generator and a battery.

Signs: battery power is positive while charging, AC power positive where it is taken; loads are positive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from victron_twin.simulator.power import CHARGER_ONLY, INVERTER_ONLY, ON, Charging

GRID, GENERATOR = 0, 1
_PHASES = range(3)
_VOLTS = 230.0
#: What is left of a power that goes through an inverter, and what it uses itself, W.
_EFFICIENCY, _IDLE = 0.94, 60.0
#: So far below the floor the battery is sustained, with so many W more than it loses.
_SUSTAINED, _SUSTAINING = 0.01, 200.0


def _none() -> list[float]:
    return [0.0, 0.0, 0.0]


@dataclass
class Quattros:
    """Three inverter/chargers; powers in W, by phase where there are three; energies in kWh.

    ``source`` is the AC input that feeds them, None where none does. ``there`` says which of the inputs has a voltage.
    """

    mode: int = ON
    limits: list[float] = field(default_factory=lambda: [50.0, 32.0])
    ignored: list[bool] = field(default_factory=lambda: [False, False])
    there: list[bool] = field(default_factory=lambda: [True, False])
    rated: float = 12_000.0
    rated_current: float = 210.0
    source: int | None = GRID
    inverting: bool = False
    low_battery: bool = False
    outage: float = 0.0  #: seconds that a reset still lasts
    input: list[float] = field(default_factory=_none)
    output: list[float] = field(default_factory=_none)
    dc: float = 0.0
    temperature: float = 27.0
    energy: dict[str, float] = field(
        default_factory=lambda: {"AcIn1ToAcOut": 4101.2, "AcIn1ToInverter": 912.7, "InverterToAcOut": 2203.9}
    )

    @property
    def powered(self) -> bool:
        """Whether the AC output has a voltage."""
        return self.source is not None or self.inverting

    def switch(self, seconds: float, cells: float) -> None:
        """Decide where the AC output comes from; ``cells`` is the battery's voltage by 12 V."""
        self.outage = max(0.0, self.outage - seconds)
        self.low_battery = cells < (12.6 if self.low_battery else 11.2)
        running = self.outage == 0.0
        usable = [n for n in (GRID, GENERATOR) if self.there[n] and not self.ignored[n]]
        self.source = usable[0] if usable and running and self.mode in (CHARGER_ONLY, ON) else None
        self.inverting = running and self.source is None and self.mode in (INVERTER_ONLY, ON) and not self.low_battery

    def count(self, seconds: float) -> None:
        """Keep the energy counters, and the temperature."""
        through, need = sum(self.input), sum(self.output)
        own = through - need  #: what the inverters take from AC, negative what they give
        if self.source is None:
            self._add("InverterToAcOut", need, seconds)
            self._add("OutToInverter", -need, seconds)
        else:
            name = f"AcIn{self.source + 1}"
            self._add(f"{name}ToAcOut", min(through, need), seconds)
            self._add(f"{name}ToInverter", min(through, own), seconds)
            self._add("InverterToAcOut", min(need, -own), seconds)
            self._add(f"InverterTo{name}", min(-through, -own), seconds)
            self._add(f"AcOutTo{name}", min(-through, -need), seconds)
        warm = 24.0 + abs(self.dc) / 400.0
        self.temperature += (warm - self.temperature) * (1.0 - math.exp(-seconds / 900.0))

    def _add(self, name: str, watts: float, seconds: float) -> None:
        if watts > 0.0:
            self.energy[name] = self.energy.get(name, 0.0) + watts * seconds / 3.6e6


@dataclass
class Plant(Charging):
    """The whole of it. What others give and take is set before each :meth:`step`.

    ``loads`` and ``suns`` are what is used and what PV inverters give, by phase, at the AC output and at the input.
    ``extra`` is the current of other things on the battery, positive where they charge. ``setpoint`` is what is wanted
    from the grid, ``floor`` the state of charge below which nothing is drawn while the grid is there; ``accepted`` is
    the current that the battery allows; ``charge_power`` and ``discharge_power`` are the owner's limits in W.
    """

    quattros: Quattros = field(default_factory=Quattros)
    output_loads: list[float] = field(default_factory=_none)
    output_suns: list[float] = field(default_factory=_none)
    input_loads: list[float] = field(default_factory=_none)
    input_suns: list[float] = field(default_factory=_none)
    extra: float = 0.0
    setpoint: float = 50.0
    floor: float = 0.1
    accepted: float = 548.0
    charge_power: float = math.inf
    discharge_power: float = math.inf
    grid: list[float] = field(default_factory=_none)
    generator: list[float] = field(default_factory=_none)

    def step(self, seconds: float, irradiance: float) -> None:
        """Let a time pass (at most some ten seconds at once)."""
        battery, quattros = self.battery, self.quattros
        volts = battery.voltage
        quattros.switch(seconds, volts / battery.series)
        for mppt in self.mppts:
            mppt.light(seconds, irradiance)
        for phase in _PHASES:
            used = self.output_loads[phase] - self.output_suns[phase]
            quattros.output[phase] = used if quattros.powered else 0.0
        room = max(0.0, (self.target - battery.rest) / battery.resistance)
        room = min(room, self.accepted, math.inf if self.charge_limit is None else self.charge_limit)
        dc = self._wanted()
        room += max(0.0, -dc) / volts - self.extra
        currents = []
        for mppt in self.mppts:  # the sun first
            offer = min(mppt.available * mppt.EFFICIENCY / volts, mppt.limit, mppt.rated) if mppt.awake else 0.0
            currents.append(max(0.0, min(offer, room)))
            room -= currents[-1]
        dc = min(dc, max(0.0, room) * volts)
        quattros.dc = dc
        battery.step(seconds, sum(currents) + dc / volts + self.extra)
        for mppt, current in zip(self.mppts, currents, strict=True):
            mppt.deliver(seconds, current, battery.voltage, self.stage)
        self._flow(_ac(dc) / 3.0)
        quattros.count(seconds)
        self.next_stage(seconds)

    def _wanted(self) -> float:
        """The DC power that the inverters would have, before the battery limits it."""
        quattros, need = self.quattros, sum(self.quattros.output)
        if not quattros.powered:
            return 0.0
        if quattros.source is None:
            return -((need / _EFFICIENCY if need > 0.0 else need * _EFFICIENCY) + _IDLE)
        wanted = math.inf
        if quattros.source == GRID and quattros.mode == ON:
            wanted = self.setpoint - sum(self.input_loads) + sum(self.input_suns) - need
            if (
                self.battery.soc <= self.floor
            ):  # nothing is drawn any more, and below it what DC loads draw is made up for
                wanted = max(0.0, wanted)
            if self.battery.soc < self.floor - _SUSTAINED:
                wanted = max(wanted, -self.extra * self.battery.voltage / _EFFICIENCY + _SUSTAINING)
        wanted = min(wanted, quattros.limits[quattros.source] * _VOLTS * len(_PHASES) - need)
        if quattros.mode != ON:
            wanted = max(0.0, wanted)
        most = min(quattros.rated_current * self.battery.voltage, self.charge_power)
        dc = wanted * _EFFICIENCY if wanted > 0.0 else wanted / _EFFICIENCY
        return max(-min(quattros.rated, self.discharge_power), min(dc, most))

    def _flow(self, own: float) -> None:
        """Where the AC power comes from, ``own`` being what the inverter on each phase takes."""
        quattros = self.quattros
        for phase in _PHASES:
            quattros.input[phase] = quattros.output[phase] + own if quattros.source is not None else 0.0
            rest = self.input_loads[phase] - self.input_suns[phase]
            by_grid = quattros.input[phase] if quattros.source == GRID else 0.0
            self.grid[phase] = rest + by_grid if quattros.there[GRID] else 0.0
            self.generator[phase] = quattros.input[phase] if quattros.source == GENERATOR else 0.0


def _ac(dc: float) -> float:
    """The AC power behind a DC power."""
    return dc / _EFFICIENCY if dc > 0.0 else dc * _EFFICIENCY
