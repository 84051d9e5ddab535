"""The van's devices: every path they publish and what it holds before anything is measured.

Paths and types are those that such devices publish on a GX with Venus OS 3.70. A pattern stands for several paths
(:func:`victron_twin.simulator.bus.expand`); a later row wins over an earlier one.
"""

from __future__ import annotations

from victron_twin.simulator.bus import Value

Table = dict[str, Value]


def _driver(connection: str, process: str, version: str) -> Table:
    return {
        "/Connected": 1,
        "/Mgmt/Connection": connection,
        "/Mgmt/ProcessName": process,
        "/Mgmt/ProcessVersion": version,
    }


def _ve_direct(instance: int, product: int, name: str, firmware: int, serial: str, tty: str) -> Table:
    return {
        **_driver("VE.Direct", "vedirect-dbus", "3.91"),
        "/CustomName": "",
        "/DeviceInstance": instance,
        "/Devices/0/CustomName": "",
        "/Devices/0/DeviceInstance": instance,
        "/Devices/0/FirmwareVersion": firmware,
        "/Devices/0/ProductId": product,
        "/Devices/0/ProductName": name,
        "/Devices/0/ServiceName": tty,
        "/Devices/0/VregLink": None,
        "/FirmwareVersion": firmware,
        "/GroupId": None,
        "/HardwareVersion": None,
        "/ProductId": product,
        "/ProductName": name,
        "/Serial": serial,
        "/VEDirect/{HexChecksumErrors,HexInvalidCharacterErrors,HexUnfinishedErrors}": 0,
        "/VEDirect/{TextChecksumErrors,TextParseError,TextUnfinishedErrors}": 0,
    }


def battery(instance: int, tty: str) -> Table:
    """A BMV-712 with a temperature sensor."""
    return {
        **_ve_direct(instance, 0xA381, "BMV-712 Smart", 1045, "HQ2132RKQWE", tty),
        "/Alarms/{Alarm,HighTemperature,HighVoltage,LowSoc,LowTemperature,LowVoltage,MidVoltage}": 0,
        "/Alarms/{High,Low}StarterVoltage": 0,
        "/ConsumedAmphours": None,
        "/Dc/0/{Current,Power,Temperature,Voltage}": None,
        "/Dc/0/{MidVoltage,MidVoltageDeviation}": None,
        "/Dc/1/Voltage": None,
        "/History/AutomaticSyncs": 31,
        "/History/AverageDischarge": -48.2999992371,
        "/History/CanBeCleared": 1,
        "/History/Clear": None,
        "/History/{ChargeCycles,FullDischarges}": 0,
        "/History/{ChargedEnergy,DischargedEnergy,DeepestDischarge,LastDischarge,TotalAhDrawn}": 0.0,
        "/History/{High,Low}StarterVoltageAlarms": None,
        "/History/HighVoltageAlarms": 0,
        "/History/LowVoltageAlarms": 2,
        "/History/{Maximum,Minimum}StarterVoltage": None,
        "/History/{Maximum,Minimum}Voltage": 0.0,
        "/History/TimeSinceLastFullCharge": 0,
        "/Relay/0/State": 0,
        "/Settings/HasMidVoltage": 0,
        "/Settings/HasStarterVoltage": 0,
        "/Settings/HasTemperature": 1,
        "/Settings/RelayMode": 2,
        "/Soc": None,
        "/TimeToGo": None,
    }


def solarcharger(
    instance: int, product: int, name: str, serial: str, tty: str, rated: float, capabilities: int, days: int
) -> Table:
    """A SmartSolar charger with so many days of history."""
    daily = f"/History/Daily/{{0-{days - 1}}}"
    return {
        **_ve_direct(instance, product, name, 0x0164, serial, tty),
        "/Alarms/Alarm": None,
        "/Capabilities/Capabilities1": capabilities,
        "/Dc/0/{Current,Voltage}": None,
        "/Dc/0/Temperature": None,
        "/DeviceOffReason": 0,
        "/Equalization/{Pending,TimeRemaining}": None,
        "/ErrorCode": 0,
        f"{daily}/Consumption": None,
        f"{daily}/LastError{{1-4}}": 0,
        f"{daily}/{{MaxBatteryCurrent,MaxBatteryVoltage,MaxPower,MaxPvVoltage,MinBatteryVoltage}}": 0.0,
        f"{daily}/Nr": 0,
        f"{daily}/{{TimeInAbsorption,TimeInBulk,TimeInFloat,Yield}}": 0.0,
        "/History/Overall/DaysAvailable": days,
        "/History/Overall/LastError{1-4}": 0,
        "/History/Overall/{MaxBatteryVoltage,MaxPvVoltage,MinBatteryVoltage}": 0.0,
        "/Link/{BatteryCurrent,ChargeCurrent,ChargeVoltage,TemperatureSense,VoltageSense}": None,
        "/Link/NetworkMode": 1,
        "/Link/NetworkStatus": 4,
        "/Link/TemperatureSenseActive": 1,
        "/Link/VoltageSenseActive": 1,
        "/Load/{I,State}": None,
        "/Mode": 1,
        "/MppOperationMode": 2,
        "/NrOfTrackers": 1,
        "/Pv/V": None,
        "/Relay/0/State": None,
        "/Settings/BmsPresent": 0,
        "/Settings/ChargeCurrentLimit": rated,
        "/State": None,
        "/Yield/{Power,System,User}": 0.0,
    }


def vebus(instance: int) -> Table:
    """A MultiPlus 12/3000/120-50 on one phase."""
    extend = "/Devices/0/ExtendStatus"
    return {
        **_driver("VE.Bus", "mk2-dbus", "4.28"),
        "/Ac/ActiveIn/ActiveInput": 240,
        "/Ac/ActiveIn/Connected": 0,
        "/Ac/ActiveIn/CurrentLimit": 16.0,
        "/Ac/ActiveIn/CurrentLimitIsAdjustable": 1,
        "/Ac/ActiveIn/L1/{F,I,V}": 0.0,
        "/Ac/ActiveIn/L1/{P,S}": 0,
        "/Ac/ActiveIn/L{2,3}/{F,I,P,S,V}": None,
        "/Ac/ActiveIn/{P,S}": 0,
        "/Ac/Control/{IgnoreAcIn1,RemoteGeneratorSelected}": 0,
        "/Ac/In/1/CurrentLimit": 16.0,
        "/Ac/In/1/CurrentLimitIsAdjustable": 1,
        "/Ac/In/2/{CurrentLimit,CurrentLimitIsAdjustable}": None,
        "/Ac/NumberOfAcInputs": 1,
        "/Ac/NumberOfPhases": 1,
        "/Ac/Out/L1/{F,I,V}": 0.0,
        "/Ac/Out/L1/{P,S}": 0,
        "/Ac/Out/L{2,3}/{F,I,P,S,V}": None,
        "/Ac/Out/{L1/,}NominalInverterPower": 3000,
        "/Ac/Out/{P,S}": 0,
        "/Ac/PowerMeasurementType": 4,
        "/Ac/State/{AcIn1Available,IgnoreAcIn1,RemoteGeneratorSelected}": 0,
        "/Ac/State/{SplitPhaseL2L1OutSummed,SplitPhaseL2Passthru}": None,
        "/AcSensor/Count": None,
        "/Alarms/{BmsConnectionLost,BmsPreAlarm}": None,
        "/Alarms/{GridLost,HighDcCurrent,HighDcVoltage,HighTemperature,LowBattery,Overload,PhaseRotation,Ripple}": 0,
        "/Alarms/L{1-3}/{HighTemperature,InverterImbalance,LowBattery,MainsImbalance,Overload,Ripple}": 0,
        "/Alarms/{TemperatureSensor,VoltageSensor}": 0,
        "/BatteryOperationalLimits/{BatteryLowVoltage,MaxChargeVoltage,MaxDischargeCurrent}": None,
        "/BatteryOperationalLimits/MaxChargeCurrent": None,
        "/BatterySense/{Temperature,Voltage}": None,
        "/Bms/{AllowToCharge,AllowToChargeRate,AllowToDischarge,BmsType,Error,PreAlarm}": None,
        "/Bms/BmsExpected": 0,
        "/CustomName": "",
        "/Dc/0/{Current,Power,Temperature,Voltage}": None,
        "/Dc/0/MaxChargeCurrent": 120.0,
        "/Dc/0/PreferRenewableEnergy": None,
        "/DeviceInstance": instance,
        "/Devices/0/Assistants": [0] * 56,
        "/Devices/0/Diagnostics/{UBatRipple,UBatTerminal,UBatVSense}": None,
        f"{extend}/{{ChargeDisabledDueToLowTemp,ChargeIsDisabled,HighDcCurrent,HighDcVoltage,IgnoreAcIn1}}": 0,
        f"{extend}/GridRelayReport/{{Code,Count}}": None,
        f"{extend}/GridRelayReport/Reset": 0,
        f"{extend}/{{MainsPllLocked,NPFGeneratorSelected,PcvPotmeterOnZero,PowerPackPreOverload}}": 0,
        f"{extend}/{{PreferRenewableEnergy,PreferRenewableEnergyActive,SocTooLowToInvert,SustainMode}}": 0,
        f"{extend}/RelayTestOk": 1,
        f"{extend}/SwitchoverInfo/{{Connecting,ErrorFlags}}": 0,
        f"{extend}/SwitchoverInfo/Delay": 15,
        f"{extend}/{{TemperatureHighForceBypass,VeBusNetworkQualityCounter,WaitingForRelayTest}}": 0,
        "/Devices/0/InterfaceProtectionLog/{0-4}/{ErrorFlags,Time}": None,
        "/Devices/0/SerialNumber": "HQ2140ABCDE",
        "/Devices/0/UpTime": 0,
        "/Devices/0/Version": 2600508,
        "/Devices/{Bms,Dmc}/Version": None,
        "/Devices/NumberOfMultis": 1,
        "/Energy/{AcIn1ToAcOut,AcIn1ToInverter,AcIn2ToAcOut,AcIn2ToInverter,AcOutToAcIn1,AcOutToAcIn2}": 0.0,
        "/Energy/{InverterToAcIn1,InverterToAcIn2,InverterToAcOut,OutToInverter}": 0.0,
        "/ExtraBatteryCurrent": None,
        "/FirmwareFeatures/{BolFrame,BolUBatAndTBatSense,CommandWriteViaId}": 1,
        "/FirmwareFeatures/{IBatSOCBroadcast,NewPanelFrame,SetChargeState}": 1,
        "/FirmwareSubVersion": 0,
        "/FirmwareVersion": 0x508,
        "/Hub/ChargeVoltage": None,
        "/Hub4/{AssistantId,DisableCharge,DisableFeedIn,DoNotFeedInOvervoltage,FixSolarOffsetTo100mV}": None,
        "/Hub4/{L1/AcPowerSetpoint,L1/MaxFeedInPower,Sustain,TargetPowerIsMaxFeedIn}": None,
        "/Interfaces/Mk2/Connection": "/dev/ttyS4",
        "/Interfaces/Mk2/ProductId": 4464,
        "/Interfaces/Mk2/ProductName": "MK3",
        "/Interfaces/Mk2/Status/Baudrate": 115200,
        "/Interfaces/Mk2/Status/BusFreeMode": 1,
        "/Interfaces/Mk2/Tunnel": None,
        "/Interfaces/Mk2/Version": 1170216,
        "/IsInverterCharger": 1,
        "/Leds/{Absorption,Bulk,Float,Inverter,LowBattery,Mains,Overload,Temperature}": 0,
        "/Mode": 3,
        "/ModeIsAdjustable": 1,
        "/ProductId": 0x2600,
        "/ProductName": "MultiPlus 12/3000/120-50",
        "/PvInverter/Disable": None,
        "/Quirks": 0,
        "/RedetectSystem": 0,
        "/Settings/Alarm/System/GridLost": 0,
        "/Settings/SystemSetup/AcInput{1,2}": 0,
        "/ShortIds": 1,
        "/Soc": None,
        "/State": None,
        "/SystemReset": None,
        "/VebusChargeState": 1,
        "/VebusError": 0,
        "/VebusMainState": None,
        "/VebusSetChargeState": 0,
    }


GPS: Table = {
    **_driver("USB", "gps_dbus", "0.14"),
    "/{Altitude,Course,Speed}": None,
    "/DeviceInstance": 0,
    "/{FirmwareVersion,HardwareVersion,MagneticVariation,ProductId,ProductName}": None,
    "/Fix": 1,
    "/NrOfSatellites": None,
    "/Position/{Latitude,Longitude}": None,
    "/UtcTimestamp": None,
}

HUB4: Table = {
    **_driver("D-Bus", "hub4control", "2.4"),
    "/Alarms/NoGridMeter": 0,
    "/DeviceInstance": 0,
    "/{MaxChargePower,MaxDischargePower}": None,
    "/Overrides/{ForceCharge,MaxChargePower,MaxDischargePower,Setpoint}": None,
    "/Pv/Disable": 0,
    "/PvPowerLimiterActive": 0,
}


def platform(portal_id: str, firmware: str) -> Table:
    """The GX itself, a Cerbo GX."""
    return {
        "/CanBus/Interfaces": [{"config": 0, "interface": "can0"}, {"config": 1, "interface": "can1"}],
        "/Device/{DataPartitionError,DataPartitionFullError}": 0,
        "/Device/HQSerialNumber": "HQ2123ABCDE",
        "/Device/Model": "Cerbo GX",
        "/Device/ProductId": "C00A",
        "/Device/Reboot": 0,
        "/Device/UniqueId": portal_id,
        "/DeviceInstance": 0,
        "/Firmware/Installed/{Build,Version}": "20260310114523",
        "/Firmware/Installed/Version": firmware,
        "/Firmware/{Offline,Online}/{Check,Install}": 0,
        "/Firmware/{Offline,Online}/{AvailableBuild,AvailableVersion}": None,
        "/Firmware/Progress": None,
        "/Firmware/State": 1000,
        "/Gui/RunningVersion": 2,
        "/Mqtt/Bridges/{GXdbus,GXrpc}/{Connected,ConnectionStatus}": None,
        "/Mqtt/RegisterOnVrm": 0,
        "/Network/ConfigChanged": 0,
        "/Network/Ethernet/LinkLocalIpAddress": "",
        "/Network/HasBluetoothSupport": 1,
        "/Network/Services": '{"ethernet": {"Wired": {"State": "online", "Address": "192.0.2.10"}}}',
        "/Notifications/{Alarm,Alert}": 0,
        "/Notifications/NumberOf{ActiveAlarms,ActiveWarnings,UnAcknowledgedAlarms,UnAcknowledgedWarnings}": 0,
        "/ProductName": "GX Device",
        "/Security/Api": "",
        "/Security/PasswordFileSize": None,
        "/Security/Status": 0,
        "/Tokens/Users": "[]",
    }
