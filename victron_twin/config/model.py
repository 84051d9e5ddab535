"""The configuration: one frozen value, made of all layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from victron_twin.twin.policy import Limit

from .keys import KEYS, PRIMARIES, Key
from .layers import (
    ConfigError,
    Layer,
    Values,
    config_file,
    from_component,
    from_environment,
    from_file,
    from_options,
    misspelt,
)
from .secret import Secret, exposed

TLS_PORT, PLAIN_PORT = 8883, 1883


@dataclass(frozen=True, slots=True, kw_only=True)
class GXConfig:
    """One GX. Times in seconds; ``port`` is filled in; ``trust`` is a text of the form that ``gx.trust`` may have.

    At most one of ``password``, ``password_file`` and ``password_secret`` is given. ``thing_name`` is a further
    GX's own. ``primary`` maps a service to the device instance that was configured for it.
    """

    host: str
    port: int
    portal_id: str | None
    username: str | None
    password: Secret | None
    password_file: Path | None
    password_secret: str | None
    trust: str
    connect_timeout: float
    max_retries: int | None
    thing_name: str | None
    primary: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CadenceConfig:
    """Seconds."""

    critical: float
    normal: float
    slow: float
    batch: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionConfig:
    """``privacy`` is off, rounded or moved; ``deadband`` and ``distance`` are metres."""

    privacy: str
    deadband: float
    decimals: int
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandsConfig:
    mode: str
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    limits: tuple[Limit, ...]
    rate: int
    raw: tuple[str, ...]
    enforce: tuple[str, ...]
    cloud_timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """How much of the audit log is kept, in bytes and seconds; the topic that it is published to, if any."""

    max_bytes: int
    max_age: float
    topic: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IoTCoreConfig:
    endpoint: str | None
    certificate: Path | None
    key: Path | None
    ca: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that a user can set, typed and validated; paths are absolute, endpoints are Twisted endpoint strings.

    ``include`` and ``exclude`` are patterns over ``<service>/<D-Bus path>`` (``battery/*``); an empty ``include`` is
    everything. ``raw`` are patterns alike, over what no table has. ``warnings`` are sentences to log at the start.
    """

    gx: tuple[GXConfig, ...]
    thing_name: str
    cadence: CadenceConfig
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    raw: tuple[str, ...]
    position: PositionConfig
    backend: str
    state_dir: Path
    http: str
    manhole: str | None
    manhole_keys: Path | None
    commands: CommandsConfig
    audit: AuditConfig
    iotcore: IoTCoreConfig
    log_level: str
    log_format: str
    demo: bool
    warnings: tuple[str, ...]

    @classmethod
    def load(
        cls,
        options: Mapping[str, Any],
        environ: Mapping[str, str],
        component: Mapping[str, Any] | None = None,
        *,
        folder: Path | None = None,
    ) -> Config:
        """The configuration of a process that starts. Raises :class:`ConfigError`.

        ``options`` are the command line's under their long names, ``component`` is the configuration that Greengrass
        has for the component, ``folder`` is where relative paths start (the current folder).
        """
        base = Path.cwd() if folder is None else folder
        file = config_file(options, environ, base)
        thing = [key for key in KEYS if key.name == "thing_name"]
        layers = [
            from_options(options, base),
            from_environment(environ, base, [key for key in KEYS if key not in thing]),
            from_component(component or {}, base),
            from_file(file) if file is not None else Layer(),
            # Greengrass sets AWS_IOT_THING_NAME for every component: it only stands in for a default.
            from_environment(environ, base, thing),
        ]
        merged = Layer()
        for layer in reversed(layers):
            merged = layer.over(merged)
        top = _values(merged.top, [key for key in KEYS if not key.name.startswith("gx.")])
        gx = tuple(_gx(values) for values in merged.gx)
        _check(top, gx, merged)
        if top["state_dir"] is None:
            top["state_dir"] = _state_dir(environ, base)
        return cls(
            gx=gx,
            cadence=CadenceConfig(**_section(top, "cadence")),
            position=PositionConfig(**_section(top, "position")),
            commands=CommandsConfig(**_section(top, "commands")),
            audit=AuditConfig(**_section(top, "audit")),
            iotcore=IoTCoreConfig(**_section(top, "iotcore")),
            warnings=(*misspelt(environ), *_odd_cadences(merged.top, top), *_open_files(file, top, gx)),
            **{name: value for name, value in top.items() if "." not in name},
        )


def _values(raws: Values, keys: list[Key]) -> dict[str, Any]:
    return {key.name: raws[key.name].parsed() if key.name in raws else key.default for key in keys}


def _section(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    prefix = section + "."
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _gx(raws: Values) -> GXConfig:
    values = _section(_values(raws, [key for key in KEYS if key.name.startswith("gx.")]), "gx")
    primary = {service: values.pop(f"primary.{service}") for service in PRIMARIES}
    if values["port"] is None:
        values["port"] = PLAIN_PORT if values["trust"] == "plaintext" else TLS_PORT
    return GXConfig(primary={s: instance for s, instance in primary.items() if instance is not None}, **values)


def _check(top: Mapping[str, Any], gx: tuple[GXConfig, ...], merged: Layer) -> None:
    """What no single value can tell."""
    if gx[0].thing_name is not None:
        origin = merged.gx[0]["gx.thing_name"].origin
        raise ConfigError(
            f"gx.thing_name: {gx[0].thing_name!r} ({origin}) is for a further GX; the first has thing_name"
        )
    _no_twins("gx.host", [f"{one.host}:{one.port}" for one in gx])
    _no_twins("gx.portal_id", [one.portal_id for one in gx])
    _no_twins("gx.thing_name", [top["thing_name"], *(one.thing_name for one in gx)])
    if top["manhole"] is not None and top["manhole_keys"] is None:
        raise ConfigError("manhole_keys is missing: with manhole it must name an authorized_keys file")
    if top["iotcore.endpoint"] is not None or top["backend"] == "iotcore":
        for name in ("iotcore.endpoint", "iotcore.certificate", "iotcore.key"):
            if top[name] is None:
                raise ConfigError(f"{name} is missing: AWS IoT Core needs an endpoint, a certificate and its key")


def _no_twins(name: str, values: list[str | None]) -> None:
    given = [value for value in values if value is not None]
    for value in given:
        if given.count(value) > 1:
            raise ConfigError(f"{name}: {value!r} is given for two GX; each must have its own")


def _state_dir(environ: Mapping[str, str], base: Path) -> Path:
    """A Greengrass component runs in its work folder."""
    return base if environ.get("SVCUID") else Path(platformdirs.user_state_dir("victron-twin"))


def _odd_cadences(raws: Values, values: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is {values[name]:g} s ({raw.origin}): are the units mixed up?"
        for name, raw in raws.items()
        if name.startswith("cadence.") and not 0.1 <= values[name] <= 3600
    ]


def _open_files(file: Path | None, top: Mapping[str, Any], gx: tuple[GXConfig, ...]) -> list[str]:
    """What is said of files with secrets that others can read."""
    return exposed(
        [
            ("config", file),
            *(("gx.password_file", one.password_file) for one in gx),
            ("iotcore.key", top["iotcore.key"]),
        ]
    )
