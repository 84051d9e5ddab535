"""What a GX works out from its devices: the service ``system/0``."""

from __future__ import annotations

import json

from victron_twin.simulator.bus import Bus, Service, Value
from victron_twin.simulator.van import Table

#: The sources of an AC input as settings number them, and what is counted as the grid.
_GRID, _GENERATOR, _SHORE, _NONE = 1, 2, 3, 240


def system(portal_id: str) -> Table:
    """Every path of ``system/0`` before anything is worked out."""
    output = "/SwitchableOutput/{0,1}"
    return {
        "/Ac/ActiveIn/{FeedbackEnabled,GridParallel}": 0,
        "/Ac/ActiveIn/L{1-3}/{Current,Power}": None,
        "/Ac/ActiveIn/{NumberOfPhases,ServiceType,Source}": None,
        "/Ac/{Consumption,ConsumptionOnInput,ConsumptionOnOutput}/L{1-3}/{Current,Power}": None,
        "/Ac/{Consumption,ConsumptionOnInput,ConsumptionOnOutput}/NumberOfPhases": None,
        "/Ac/{Genset,Grid}/{DeviceType,L1/Current,L1/Power,L2/Current,L2/Power,L3/Current,L3/Power}": None,
        "/Ac/{Genset,Grid}/{NumberOfPhases,ProductId}": None,
        "/Ac/Genset/{LastStartTime,RunningByConditionCode,Runtime}": None,
        "/Ac/HasAcLoads": 1,
        "/Ac/In/{0,1}/{Connected,DeviceInstance,ServiceName,ServiceType,Source,VrmDeviceInstance}": None,
        "/Ac/In/NumberOfAcInputs": 1,
        "/Ac/{PvOnGenset,PvOnGrid,PvOnOutput}/{L1,L2,L3}/{Current,Power}": None,
        "/Ac/{PvOnGenset,PvOnGrid,PvOnOutput}/NumberOfPhases": None,
        "/{ActiveBatteryService,ActiveBmsInstance,ActiveBmsService,AutoSelectedBatteryMeasurement}": None,
        "/{AutoSelectedBatteryService,AutoSelectedTemperatureService,AvailableBatteries}": None,
        "/{AvailableBatteryMeasurements,AvailableBatteryServices,AvailableBmsServices}": None,
        "/{AvailableTemperatureServices,Batteries}": None,
        "/Buzzer/State": 0,
        "/Connected": 1,
        "/Control/ActiveSocLimit": 10.0,
        "/Control/{BatteryCurrentSense,BatteryVoltageSense,BmsParameters,EssState,MaxChargeCurrent}": 0,
        "/Control/Dvcc": 1,
        "/Control/{EffectiveChargeVoltage,ScheduledSoc}": None,
        "/Control/{ExtraBatteryCurrent,SolarChargerTemperatureSense,SolarChargerVoltageSense}": 1,
        "/Control/{ScheduledCharge,ScheduledChargeStatus,SolarChargeCurrent,SolarChargeVoltage,VebusSoc}": 0,
        "/Dc/{Alternator,Charger,FuelCell}/Power": None,
        "/Dc/Battery/{Alarms/CircuitBreakerTripped,BatteryService,Capacity,ChargeVoltage}": None,
        "/Dc/Battery/{ConsumedAmphours,Current,Power,ProductId,Soc,State,Temperature}": None,
        "/Dc/Battery/{TemperatureService,TimeToGo,Voltage,VoltageService}": None,
        "/Dc/{InverterCharger,Pv,System,Vebus}/{Current,Power}": None,
        "/Dc/System/MeasurementType": None,
        "/Debug/BatteryOperationalLimits/{CurrentOffset,SolarVoltageOffset,VebusVoltageOffset}": 0,
        "/Debug/DisableBatterySense": 0,
        "/DeviceInstance": 0,
        "/Devices/NumberOfVebusDevices": 0,
        "/Dvcc/Alarms/{FirmwareInsufficient,MultipleBatteries}": 0,
        "/DynamicEss/{Active,Available,ChargeHysteresis,ChargeRate,DischargeHysteresis,ErrorCode}": 0,
        "/DynamicEss/{AllowGridFeedIn,AvailableOverhead,Flags,LastScheduledEnd,LastScheduledStart}": None,
        "/DynamicEss/Capabilities": 191,
        "/DynamicEss/{MinimumSoc,Restrictions,Strategy,TargetSoc,WindowSoc}": None,
        "/DynamicEss/{NumberOfSchedules,WindowSlot,WorkingSocPrecision}": 0,
        "/DynamicEss/ReactiveStrategy": 92,
        "/FirmwareBuild": "0",
        "/FirmwareVersion": 0,
        "/{GpsService,GpsSpeed,HardwareVersion,ProductId,ProductName,SystemType}": None,
        "/Hub": None,
        "/LoadShedding/{Active,Available,Capabilities,ErrorCode}": 0,
        "/LoadShedding/NextDisconnect": None,
        "/Mgmt/Connection": "data from other dbus processes",
        "/Mgmt/ProcessName": "/opt/victronenergy/dbus-systemcalc-py/dbus_systemcalc.py",
        "/Mgmt/ProcessVersion": "2.256",
        "/MotorDrive/{0,1}/{DeviceInstance,RPM,Service}": None,
        "/MotorDrive/{ConsumptionAhkm,ConsumptionWhkm,Current,Power,Range,Voltage}": None,
        "/Pv/Disable": 0,
        "/PvInvertersProductIds": None,
        "/Relay/{0,1}/State": 0,
        "/Serial": portal_id,
        f"{output}/Name": "Relay",
        f"{output}/Settings/{{CustomName,Group}}": "",
        f"{output}/Settings/Function": 2,
        f"{output}/Settings/{{ShowUIControl,Type}}": 1,
        f"{output}/Settings/ValidFunctions": 0b1111,
        f"{output}/Settings/ValidTypes": 0b11,
        f"{output}/State": 0,
        f"{output}/Status": 1,
        "/SystemState/{BatteryLife,ChargeDisabled,DischargeDisabled,LowSoc,PeakShaving,SlowCharge}": 0,
        "/SystemState/{UserChargeLimited,UserDischargeLimited}": 0,
        "/SystemState/State": None,
        "/Timers/{TimeOff,TimeOnGenerator,TimeOnGrid,TimeOnInverter}": 0,
        "/{VebusInstance,VebusService}": None,
    }


def _first(bus: Bus, kind: str) -> Service | None:
    services = bus.kind(kind)
    return services[0] if services else None


def refresh(bus: Bus) -> None:
    """Work everything out anew."""
    it = bus["system/0"]
    settings = bus["settings/0"]
    vebus, monitor, gps = _first(bus, "vebus"), _first(bus, "battery"), _first(bus, "gps")
    for service in bus:
        if service.kind not in ("system", "platform", "hub4"):
            it.put(f"/ServiceMapping/com_victronenergy_{service.kind}_{service.instance}", service.name)
    _ac(it, settings, vebus)
    _battery(it, monitor, vebus)
    chargers = bus.kind("solarcharger")
    pv_current = sum(charger.number("/Dc/0/Current") for charger in chargers)
    pv_power = sum(charger.number("/Dc/0/Current") * charger.number("/Dc/0/Voltage") for charger in chargers)
    it.update({"/Dc/Pv/Current": pv_current if chargers else None, "/Dc/Pv/Power": pv_power if chargers else None})
    rest: float | None = None
    if monitor is not None and settings["/Settings/SystemSetup/HasDcSystem"] == 1:
        inverter = 0.0 if vebus is None else vebus.number("/Dc/0/Power")
        rest = pv_power + inverter - monitor.number("/Dc/0/Power")
    volts = it.number("/Dc/Battery/Voltage")
    dvcc = settings.number("/Settings/Services/Bol") % 2 == 1
    limit = settings.number("/Settings/SystemSetup/MaxChargeCurrent", -1.0)
    it.update(
        {
            "/Dc/System/Power": rest,
            "/Dc/System/Current": rest / volts if rest is not None and volts else None,
            "/Dc/System/MeasurementType": None if rest is None else 0,
            "/Control/Dvcc": int(dvcc),
            "/Control/MaxChargeCurrent": int(dvcc and limit >= 0),
            "/Control/SolarChargeCurrent": int(dvcc and limit >= 0 and bool(chargers)),
            "/Control/ActiveSocLimit": settings["/Settings/CGwacs/BatteryLife/MinimumSocLimit"],
            "/GpsService": gps.name if gps is not None and gps["/Fix"] == 1 else None,
            "/GpsSpeed": gps["/Speed"] if gps is not None and gps["/Fix"] == 1 else None,
            "/Hub": None if vebus is None or not chargers else 1,
            "/SystemType": "VE.Bus System" if vebus is not None else "Solar Charger" if chargers else "Unknown",
            "/SwitchableOutput/0/State": it["/Relay/0/State"],
            "/SwitchableOutput/1/State": it["/Relay/1/State"],
            "/SwitchableOutput/0/Settings/Function": settings["/Settings/Relay/Function"],
            "/SwitchableOutput/1/Settings/Function": settings["/Settings/Relay/1/Function"],
        }
    )


def _ac(it: Service, settings: Service, vebus: Service | None) -> None:
    source = settings["/Settings/SystemSetup/AcInput1"]
    connected = vebus is not None and vebus["/Ac/ActiveIn/Connected"] == 1
    power, current = (None, None) if vebus is None else (vebus["/Ac/Out/L1/P"], vebus["/Ac/Out/L1/I"])
    taken: Value = vebus["/Ac/ActiveIn/L1/P"] if vebus is not None and connected else None
    drawn: Value = vebus["/Ac/ActiveIn/L1/I"] if vebus is not None and connected else None
    phases = None if vebus is None else 1
    for name in ("Consumption", "ConsumptionOnOutput"):
        it.update({f"/Ac/{name}/L1/Power": power, f"/Ac/{name}/L1/Current": current})
        it.put(f"/Ac/{name}/NumberOfPhases", phases)
    it.update({"/Ac/ActiveIn/L1/Power": taken, "/Ac/ActiveIn/L1/Current": drawn})
    for name, sources in (("Grid", (_GRID, _SHORE)), ("Genset", (_GENERATOR,))):
        here = connected and source in sources
        it.put(f"/Ac/{name}/L1/Power", taken if here else None)
        it.put(f"/Ac/{name}/L1/Current", drawn if here else None)
        it.put(f"/Ac/{name}/NumberOfPhases", 1 if here else None)
    used = vebus is not None and source != 0
    it.update(
        {
            "/Ac/ActiveIn/NumberOfPhases": 1 if connected else None,
            "/Ac/ActiveIn/ServiceType": "vebus" if connected else None,
            "/Ac/ActiveIn/Source": None if vebus is None else source if connected else _NONE,
            "/Ac/In/0/Connected": int(connected) if used else None,
            "/Ac/In/0/DeviceInstance": vebus.instance if vebus is not None and used else None,
            "/Ac/In/0/VrmDeviceInstance": vebus.instance if vebus is not None and used else None,
            "/Ac/In/0/ServiceName": vebus.name if vebus is not None and used else None,
            "/Ac/In/0/ServiceType": "vebus" if used else None,
            "/Ac/In/0/Source": source if used else None,
            "/Dc/Vebus/Current": None if vebus is None else vebus["/Dc/0/Current"],
            "/Dc/Vebus/Power": None if vebus is None else vebus["/Dc/0/Power"],
            "/Dc/InverterCharger/Current": None if vebus is None else vebus["/Dc/0/Current"],
            "/Dc/InverterCharger/Power": None if vebus is None else vebus["/Dc/0/Power"],
            "/Devices/NumberOfVebusDevices": 0 if vebus is None else 1,
            "/SystemState/State": None if vebus is None else vebus["/State"],
            "/VebusInstance": None if vebus is None else vebus.instance,
            "/VebusService": None if vebus is None else vebus.name,
        }
    )
    if vebus is not None:
        vebus.put("/Settings/SystemSetup/AcInput1", source)
        vebus.put("/Settings/SystemSetup/AcInput2", settings["/Settings/SystemSetup/AcInput2"])


def _battery(it: Service, monitor: Service | None, vebus: Service | None) -> None:
    best = monitor or vebus
    power = None if best is None else best.number("/Dc/0/Power")
    warm = best if best is not None and best.get("/Dc/0/Temperature") is not None else None
    names = {
        f"com.victronenergy.{s.key}": f"{s['/ProductName']} on {s['/Mgmt/Connection']}" for s in (monitor, vebus) if s
    }
    chosen = None if best is None else f"com.victronenergy.{best.key}"
    it.update(
        {
            "/ActiveBatteryService": chosen,
            "/AutoSelectedBatteryMeasurement": chosen and chosen.replace(".", "_").replace("/", "_") + "/Dc/0",
            "/AutoSelectedBatteryService": names[chosen] if chosen else "No battery monitor found",
            "/AutoSelectedTemperatureService": names[chosen] if chosen and warm is not None else None,
            "/AvailableBatteryServices": json.dumps(
                {"default": "Automatic", "nobattery": "No battery monitor", **names}
            ),
            "/Batteries": _list(best),
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
        }
    )


def _list(best: Service | None) -> Value:
    if best is None:
        return None
    row: dict[str, Value] = {
        "active_battery_service": True,
        "current": best["/Dc/0/Current"],
        "id": best.name,
        "instance": best.instance,
        "name": best.get("/CustomName") or best["/ProductName"],
        "power": best["/Dc/0/Power"],
        "soc": best["/Soc"],
        "voltage": best["/Dc/0/Voltage"],
    }
    return [row]
