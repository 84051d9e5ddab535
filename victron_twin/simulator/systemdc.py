"""The DC part of ``system/0``: the batteries, what charges them and what draws from them."""

from __future__ import annotations

import json

from victron_twin.simulator.bus import Bus, Service, Value

#: The settings' words for how the battery is chosen.
_AUTOMATIC, _NOBODY = "default", "nobattery"


def refresh(it: Service, settings: Service, bus: Bus) -> None:
    """Work the DC part out anew."""
    batteries, vebus = bus.kind("battery"), bus.first("vebus")
    chosen = _chosen(settings["/Settings/SystemSetup/BatteryService"], batteries, vebus)
    _battery(it, settings, batteries, vebus, chosen)
    _bms(it, settings, batteries)
    suns = [("solarcharger", "/Dc/0/Current"), ("multi", None)]
    chargers = [(s, current) for kind, current in suns for s in bus.kind(kind) if current or s.get("/Yield/Power")]
    pv_power = pv_current = 0.0
    for charger, current in chargers:
        volts = charger.number("/Dc/0/Voltage")
        power = charger.number(current) * volts if current else charger.number("/Yield/Power")
        pv_power += power
        pv_current += charger.number(current) if current else power / volts if volts else 0.0
    it.update({"/Dc/Pv/Current": pv_current if chargers else None, "/Dc/Pv/Power": pv_power if chargers else None})
    for name, kind in (("Alternator", "alternator"), ("Charger", "charger"), ("FuelCell", "fuelcell")):
        sources = bus.kind(kind)
        it.put(f"/Dc/{name}/Power", sum(map(_power, sources)) if sources else None)
    inverters = [s for s in (vebus, *bus.kind("multi")) if s is not None]
    for name, services in (("Vebus", inverters[:1] if vebus else []), ("InverterCharger", inverters)):
        for of in ("Power", "Current"):
            values = [s[f"/Dc/0/{of}"] for s in services]
            it.put(f"/Dc/{name}/{of}", values[0] if len(values) == 1 else _sum(values))
    _rest(it, settings, bus, pv_power + sum(map(_power, inverters)), chosen)
    dvcc = settings.number("/Settings/Services/Bol") % 2 == 1
    limited = dvcc and settings.number("/Settings/SystemSetup/MaxChargeCurrent", -1.0) >= 0
    it.update(
        {
            "/Control/Dvcc": int(dvcc),
            "/Control/MaxChargeCurrent": int(limited),
            "/Control/SolarChargeCurrent": int(limited and bool(chargers)),
        }
    )


def _power(service: Service) -> float:
    power = service.get("/Dc/0/Power")
    if isinstance(power, (int, float)):
        return power
    return service.number("/Dc/0/Voltage") * service.number("/Dc/0/Current")


def _sum(values: list[Value]) -> Value:
    return sum(v for v in values if isinstance(v, (int, float))) if values else None


def _key(service: Service) -> str:
    return f"com.victronenergy.{service.key}"


def _name(service: Service) -> str:
    return f"{service['/ProductName']} on {service['/Mgmt/Connection']}"


def _rest(it: Service, settings: Service, bus: Bus, charged: float, chosen: Service | None) -> None:
    """What other things draw from the battery: measured, or else the difference of what is."""
    meters = bus.kind("dcsystem")
    volts = it.number("/Dc/Battery/Voltage")
    rest: float | None = None
    if meters:
        rest = sum(map(_power, meters))
    elif settings["/Settings/SystemSetup/HasDcSystem"] == 1 and chosen is not None and chosen.kind == "battery":
        rest = charged - chosen.number("/Dc/0/Power")
    it.update(
        {
            "/Dc/System/Power": rest,
            "/Dc/System/Current": rest / volts if rest is not None and volts else None,
            "/Dc/System/MeasurementType": None if rest is None else int(bool(meters)),
        }
    )


def _chosen(wanted: Value, batteries: list[Service], vebus: Service | None) -> Service | None:
    """The battery that the GX takes for the system's."""
    there = [*batteries, *([vebus] if vebus is not None else [])]
    if wanted == _AUTOMATIC:
        return there[0] if there else None
    return next((service for service in there if _key(service) == wanted), None)


def _battery(
    it: Service, settings: Service, batteries: list[Service], vebus: Service | None, best: Service | None
) -> None:
    monitor = best if best is not None and best.kind == "battery" else None
    power = None if best is None else best.number("/Dc/0/Power")
    warm = best if best is not None and best.get("/Dc/0/Temperature") is not None else None
    names = {_key(s): _name(s) for s in (*batteries, vebus) if s is not None}
    automatic = settings["/Settings/SystemSetup/BatteryService"] == _AUTOMATIC
    key = None if best is None else _key(best)
    no_battery = "No battery monitor found"
    it.update(
        {
            "/ActiveBatteryService": key,
            "/AutoSelectedBatteryMeasurement": key and key.replace(".", "_").replace("/", "_") + "/Dc/0",
            "/AutoSelectedBatteryService": (names[key] if key else no_battery) if automatic else None,
            "/AutoSelectedTemperatureService": names[key] if key and warm is not None else None,
            "/AvailableBatteryServices": json.dumps({_AUTOMATIC: "Automatic", _NOBODY: "No battery monitor", **names}),
            "/Batteries": _list(batteries, best),
            "/Dc/Battery/BatteryService": None if best is None else best.name,
            "/Dc/Battery/Voltage": None if best is None else best["/Dc/0/Voltage"],
            "/Dc/Battery/VoltageService": None if best is None else best.name,
            "/Dc/Battery/Current": None if best is None else best["/Dc/0/Current"],
            "/Dc/Battery/Power": power,
            "/Dc/Battery/State": None if power is None else 1 if power > 30.0 else 2 if power < -30.0 else 0,
            "/Dc/Battery/Soc": None if best is None else best["/Soc"],
            "/Dc/Battery/Temperature": None if warm is None else warm["/Dc/0/Temperature"],
            "/Dc/Battery/TemperatureService": None if warm is None else warm.name,
            "/Dc/Battery/ProductId": None if monitor is None else monitor["/ProductId"],
            "/Dc/Battery/ConsumedAmphours": None if monitor is None else monitor["/ConsumedAmphours"],
            "/Dc/Battery/TimeToGo": None if monitor is None else monitor["/TimeToGo"],
            "/Dc/Battery/Capacity": None if monitor is None else monitor.get("/Capacity"),
            "/Dc/Battery/ChargeVoltage": None if monitor is None else monitor.get("/Info/MaxChargeVoltage"),
        }
    )


def _list(batteries: list[Service], best: Service | None) -> Value:
    """Each battery in a few words; where none is measured, the one that the inverter sees."""
    if best is None:
        return None
    return [
        {
            "active_battery_service": service is best,
            "current": service["/Dc/0/Current"],
            "id": service.name,
            "instance": service.instance,
            "name": service.get("/CustomName") or service["/ProductName"],
            "power": service["/Dc/0/Power"],
            "soc": service["/Soc"],
            "voltage": service["/Dc/0/Voltage"],
        }
        for service in (batteries or [best])
    ]


def _bms(it: Service, settings: Service, batteries: list[Service]) -> None:
    """Which battery says how it wants to be charged."""
    managed = [battery for battery in batteries if battery.get("/Info/MaxChargeVoltage") is not None]
    if not managed:
        return
    wanted = settings["/Settings/SystemSetup/BmsInstance"]
    active = next((battery for battery in managed if battery.instance == wanted or wanted == -1), None)
    owners = settings.number("/Settings/SystemSetup/MaxChargeVoltage")
    asked = None if active is None else active.number("/Info/MaxChargeVoltage")
    it.update(
        {
            "/ActiveBmsInstance": None if active is None else active.instance,
            "/ActiveBmsService": None if active is None else active.name,
            "/AvailableBmsServices": [{"instance": each.instance, "name": _name(each)} for each in managed],
            "/Control/BmsParameters": int(active is not None),
            "/Control/EffectiveChargeVoltage": asked if asked is None or owners <= 0.0 else min(asked, owners),
        }
    )
