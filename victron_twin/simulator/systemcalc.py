"""What a GX works out from its devices: the service ``system/0``."""

from __future__ import annotations

from victron_twin.simulator import systemac, systemdc
from victron_twin.simulator.bus import Bus, Service

#: Services that no mapping names.
_UNMAPPED = ("system", "platform", "hub4")
#: What a system with ESS is called.
_ESS = 4


def refresh(bus: Bus) -> None:
    """Work everything out anew."""
    it = bus["system/0"]
    settings = bus["settings/0"]
    for service in bus:
        if service.kind not in _UNMAPPED:
            it.put(f"/ServiceMapping/com_victronenergy_{service.kind}_{service.instance}", service.name)
    systemac.refresh(it, settings, bus)
    systemdc.refresh(it, settings, bus)
    vebus, chargers = bus.first("vebus"), bus.kind("solarcharger")
    ess = vebus is not None and vebus.get("/Hub4/AssistantId") is not None
    solar = "Solar Charger" if chargers else "Unknown"
    fixed = [gps for gps in bus.kind("gps") if gps["/Fix"] == 1]
    outputs = {
        f"/SwitchableOutput/{number}/{path}": value
        for number, function in enumerate(("", "1/"))
        for path, value in (
            ("State", it[f"/Relay/{number}/State"]),
            ("Settings/Function", settings[f"/Settings/Relay/{function}Function"]),
        )
    }
    it.update(
        {
            "/Control/ActiveSocLimit": settings["/Settings/CGwacs/BatteryLife/MinimumSocLimit"],
            "/Control/EssState": settings["/Settings/CGwacs/BatteryLife/State"] if ess else 0,
            "/GpsService": fixed[0].name if fixed else None,
            "/GpsSpeed": fixed[0]["/Speed"] if fixed else None,
            "/Hub": None if vebus is None or not chargers else _ESS if ess else 1,
            "/SystemType": "ESS" if ess else "VE.Bus System" if vebus is not None else solar,
            **outputs,
        }
    )
    _motors(it, bus)


def _motors(it: Service, bus: Bus) -> None:
    drives = bus.kind("motordrive")
    if not drives:
        return
    for number, drive in enumerate(drives[:2]):
        it.update(
            {
                f"/MotorDrive/{number}/DeviceInstance": drive.instance,
                f"/MotorDrive/{number}/RPM": drive["/Motor/RPM"],
                f"/MotorDrive/{number}/Service": drive.name,
            }
        )
    it.update(
        {
            "/MotorDrive/Power": sum(drive.number("/Dc/0/Power") for drive in drives),
            "/MotorDrive/Current": sum(drive.number("/Dc/0/Current") for drive in drives),
            "/MotorDrive/Voltage": drives[0]["/Dc/0/Voltage"],
        }
    )
