"""The electricity of a site: a battery, solar chargers, and an inverter/charger as a small van has one.

Signs: battery current and power are positive while charging, as Victron has them; loads are positive.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field

BULK, ABSORPTION, FLOAT, EXTERNAL = 3, 4, 5, 252
CHARGER_ONLY, INVERTER_ONLY, ON, OFF = 1, 2, 3, 4

#: Rest voltage of four lithium iron phosphate cells by state of charge.
_REST: tuple[tuple[float, float], ...] = (
    *((0.0, 10.6), (0.03, 12.0), (0.1, 12.75), (0.2, 12.95), (0.4, 13.12), (0.6, 13.2), (0.8, 13.3), (0.92, 13.36)),
    *((0.97, 13.5), (0.99, 13.75), (1.0, 14.05)),
)


def rest_voltage(soc: float) -> float:
    """The battery's voltage without current; ``soc`` from 0 to 1."""
    above = max(1, min(len(_REST) - 1, bisect_right(_REST, (soc, math.inf))))
    (low, from_), (high, to) = _REST[above - 1], _REST[above]
    return from_ + (to - from_) * (soc - low) / (high - low)


@dataclass
class Battery:
    """``capacity`` in Ah, ``series`` times 12 V, ``soc`` from 0 to 1; counters in kWh and Ah."""

    capacity: float = 280.0
    series: int = 1
    resistance: float = 0.0045
    soc: float = 0.875
    current: float = 0.0
    voltage: float = 13.2
    charged: float = 412.61
    discharged: float = 377.04
    drawn: float = 28_911.4
    cycles: int = 86
    since_full: float = 131_400.0
    deepest: float = 211.5
    lowest: float = 11.62
    highest: float = 14.43
    average: float | None = None  #: of the current over some minutes, what time to go is made from

    @property
    def consumed(self) -> float:
        """Ah taken out since full."""
        return (1.0 - self.soc) * self.capacity

    @property
    def rest(self) -> float:
        """The voltage without current."""
        return rest_voltage(self.soc) * self.series

    def step(self, seconds: float, current: float) -> None:
        """Carry a current for a time."""
        self.current = current
        self.soc = max(0.0, min(1.0, self.soc + current * seconds / 3600.0 / self.capacity))
        self.voltage = self.rest + current * self.resistance
        energy = self.voltage * current * seconds / 3.6e6
        self.charged += max(0.0, energy)
        self.discharged -= min(0.0, energy)
        self.drawn -= min(0.0, current) * seconds / 3600.0
        self.since_full = 0.0 if self.soc >= 0.995 else self.since_full + seconds
        self.deepest = max(self.deepest, self.consumed)
        self.lowest, self.highest = min(self.lowest, self.voltage), max(self.highest, self.voltage)
        follow = 1.0 if self.average is None else 1.0 - math.exp(-seconds / 180.0)
        self.average = (self.average or 0.0) + (current - (self.average or 0.0)) * follow


@dataclass
class Day:
    """One day of a solar charger's history; times in seconds, the yield in kWh."""

    number: int
    produced: float = 0.0
    peak: float = 0.0
    highest_pv: float = 0.0
    highest_current: float = 0.0
    lowest: float = 99.0
    highest: float = 0.0
    times: dict[int, float] = field(default_factory=lambda: {BULK: 0.0, ABSORPTION: 0.0, FLOAT: 0.0})


@dataclass
class Mppt:
    """A solar charger; ``watts`` is what its panels give at 1000 W per square metre, ``rated`` its current.

    The charger's own day begins when light comes after the dark, not at midnight.
    """

    watts: float
    rated: float
    panel_voltage: float
    days: list[Day]
    kept: int  #: days that the history holds
    total: float  #: kWh, never reset
    user: float  #: kWh, as the owner reset it
    on: bool = True
    limit: float = math.inf
    available: float = 0.0
    pv_power: float = 0.0
    pv_voltage: float = 0.0
    current: float = 0.0
    dark: float = 0.0

    EFFICIENCY = 0.968

    @property
    def awake(self) -> bool:
        """Whether the panels give enough to charge with."""
        return self.on and self.available > 1.0

    def light(self, seconds: float, irradiance: float) -> None:
        """See the light on the panels."""
        self.available = self.watts * 0.82 * irradiance / 1000.0 if irradiance > 6.0 else 0.0
        # panels find their open voltage soon after dawn, and sink a little with the light
        self.pv_voltage = self.panel_voltage * max(0.0, 1.0 + 0.045 * math.log(max(irradiance, 1e-3) / 700.0))
        if self.available > 1.0:
            if self.dark > 4 * 3600.0:
                self.days.insert(0, Day(self.days[0].number + 1))
                del self.days[self.kept :]
            self.dark = 0.0
        else:
            self.dark += seconds

    def deliver(self, seconds: float, current: float, voltage: float, stage: int) -> None:
        """Charge with a current at the battery's voltage."""
        self.current = current
        self.pv_power = current * voltage / self.EFFICIENCY
        if not self.awake or self.pv_power < self.available * 0.97:
            self.pv_voltage *= 1.15  # off the maximum power point, towards the open voltage
        today, energy = self.days[0], self.pv_power * seconds / 3.6e6
        today.produced += energy
        self.total += energy
        self.user += energy
        today.peak = max(today.peak, self.pv_power)
        today.highest_pv = max(today.highest_pv, self.pv_voltage)
        today.highest_current = max(today.highest_current, current)
        today.lowest, today.highest = min(today.lowest, voltage), max(today.highest, voltage)
        if self.awake:
            today.times[stage] += seconds


@dataclass
class Multi:
    """An inverter/charger; powers in W, energies in kWh."""

    mode: int = ON
    input_limit: float = 16.0
    ignore_input: bool = False
    rated: float = 120.0
    shore: bool = False
    mains: bool = False
    inverting: bool = False
    low_battery: bool = False
    outage: float = 0.0  #: seconds that a reset still lasts
    input_power: float = 0.0
    output_power: float = 0.0
    dc_power: float = 0.0
    input_voltage: float = 0.0
    output_voltage: float = 0.0
    frequency: float = 50.0
    temperature: float = 26.0
    energy: dict[str, float] = field(
        default_factory=lambda: {"AcIn1ToAcOut": 61.24, "AcIn1ToInverter": 118.7, "InverterToAcOut": 203.9}
    )

    def switch(self, seconds: float, voltage: float) -> None:
        """Decide where the AC output comes from."""
        self.outage = max(0.0, self.outage - seconds)
        self.low_battery = voltage < (12.6 if self.low_battery else 11.2)
        running = self.outage == 0.0
        self.mains = running and self.shore and not self.ignore_input and self.mode in (CHARGER_ONLY, ON)
        self.inverting = running and not self.mains and self.mode in (INVERTER_ONLY, ON) and not self.low_battery

    def run(self, seconds: float, load: float, charge: float, voltage: float) -> None:
        """Feed the AC load, and charge with a current."""
        self.output_power = load if self.mains or self.inverting else 0.0
        # what the charger could not have anyway is charge = 0 while inverting
        self.dc_power = -(self.output_power / 0.925 + 14.0) if self.inverting else charge * voltage
        self.input_power = self.output_power + self.dc_power / 0.91 + 6.0 if self.mains else 0.0
        hours = seconds / 3.6e6
        if self.mains:
            self.energy["AcIn1ToAcOut"] += self.output_power * hours
            self.energy["AcIn1ToInverter"] += self.dc_power / 0.91 * hours
        elif self.inverting:
            self.energy["InverterToAcOut"] += self.output_power * hours
        warm = 24.0 + abs(self.dc_power) / 70.0
        self.temperature += (warm - self.temperature) * (1.0 - math.exp(-seconds / 900.0))


@dataclass
class Charging:
    """A battery and its solar chargers.

    ``charge_limit`` (A) and ``voltage_limit`` (V) are the owner's limits for all chargers; None is none.
    ``network_mode`` is how the GX controls the chargers, as it tells them: with the bit 4 they follow its voltage.
    """

    battery: Battery
    mppts: list[Mppt]
    network_mode: int = 1
    absorption: float = 14.2
    float_: float = 13.5
    charge_limit: float | None = None
    voltage_limit: float | None = None
    stage: int = BULK
    in_stage: float = 0.0

    @property
    def target(self) -> float:
        """The voltage that the chargers hold."""
        wanted = self.float_ if self.stage == FLOAT else self.absorption
        return wanted if self.voltage_limit is None else min(wanted, self.voltage_limit)

    @property
    def state(self) -> int:
        """What a charger at work says that it does."""
        return EXTERNAL if self.network_mode & 4 else self.stage

    def set_stage(self, stage: int) -> None:
        """Go to a charge stage."""
        self.stage, self.in_stage = stage, 0.0

    def next_stage(self, seconds: float) -> None:
        """Go on to the next charge stage when it is time."""
        self.in_stage += seconds
        battery = self.battery
        few = battery.capacity / 56.0
        if self.stage == BULK and battery.voltage >= self.target - 0.03 * battery.series:
            self.set_stage(ABSORPTION)
        elif self.stage == ABSORPTION and (self.in_stage > 3600.0 or 0.0 <= battery.current < few):
            self.set_stage(FLOAT)
        elif self.stage == FLOAT and battery.voltage < 13.2 * battery.series and self.in_stage > 60.0:
            self.set_stage(BULK)


@dataclass
class Power(Charging):
    """All of a van's electricity together."""

    multi: Multi = field(default_factory=Multi)
    dc_load: float = 0.0

    def step(self, seconds: float, irradiance: float, dc_load: float, ac_load: float) -> None:
        """Let a time pass (at most some ten seconds at once)."""
        battery, multi, voltage = self.battery, self.multi, self.battery.voltage
        self.dc_load = dc_load
        multi.switch(seconds, voltage)
        for mppt in self.mppts:
            mppt.light(seconds, irradiance)
        drawn = dc_load / voltage
        if multi.inverting:
            drawn += (ac_load / 0.925 + 14.0) / voltage
        offers = [min(m.available * m.EFFICIENCY / voltage, m.limit, m.rated) if m.awake else 0.0 for m in self.mppts]
        if multi.mains:
            spare = multi.input_limit * 230.0 - ac_load - 6.0
            offers.append(max(0.0, min(multi.rated, spare * 0.91 / voltage)))
        wanted = max(0.0, drawn + (self.target - battery.rest) / battery.resistance)
        if self.charge_limit is not None:
            wanted = min(wanted, drawn + self.charge_limit)
        currents = []
        for offer in offers:  # the sun first
            currents.append(min(offer, wanted))
            wanted -= currents[-1]
        battery.step(seconds, sum(currents) - drawn)
        for mppt, current in zip(self.mppts, currents, strict=False):
            mppt.deliver(seconds, current, battery.voltage, self.stage)
        multi.run(seconds, ac_load, currents[len(self.mppts)] if multi.mains else 0.0, battery.voltage)
        self.next_stage(seconds)
