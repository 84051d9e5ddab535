"""Every configuration key, as a table: what it is called in each layer, what it may be, what it is for.

The options of the command line, the tables in the README and in ``docs/configuration.md`` and the reading of all
layers come from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from victron_twin.twin.policy import RATE

from . import forms
from .forms import Form

#: Services whose primary device can be configured (the others have none, or only one).
PRIMARIES = ("battery", "solarcharger", "vebus", "gps")

#: Of these a configuration has one at most: a layer that gives one takes the others of lower layers away.
PASSWORDS = frozenset({"gx.password", "gx.password_file", "gx.password_secret"})


@dataclass(frozen=True, slots=True)
class Key:
    """``name`` is dotted, as in the file: ``gx.port``.

    ``env`` is its name in the environment, ``option`` on the command line (without the dashes), ``mission`` its
    further spellings in the file and in a Greengrass component's configuration. ``mission_form`` is what ``env`` and
    ``mission`` hold where that is not ``form``: milliseconds where the key has seconds. ``default_text`` is for the
    reader, where the default is not a value that could be written down.
    """

    name: str
    form: Form
    help: str
    default: Any = None
    env: str = ""
    option: str = ""
    mission: tuple[str, ...] = ()
    mission_form: Form | None = None
    default_text: str = ""

    @property
    def secret(self) -> bool:
        return self.form is forms.SECRET

    @property
    def flag(self) -> bool:
        """Whether the option takes no value."""
        return self.form is forms.BOOLEAN

    @property
    def names(self) -> dict[str, Form]:
        """Every name that it may have in a file, with the form of what stands there."""
        section = self.name.rpartition(".")[0]
        further = [self.env, *self.mission, *(f"{section}.{name}" for name in self.mission if section)]
        return {self.name: self.form} | {name: self.mission_form or self.form for name in further if name}


def milliseconds(name: str, default: float, help: str, env: str = "", mission: tuple[str, ...] = ()) -> Key:
    """A duration in seconds that the mission knew in milliseconds."""
    return Key(name, forms.SECONDS, help, default, env=env, mission=mission, mission_form=forms.MILLISECONDS)


KEYS: Sequence[Key] = (
    Key(
        "gx.host",
        forms.HOST,
        "Where the GX is.",
        "venus.local",
        env="VICTRON_HOST",
        option="gx-host",
    ),
    Key(
        "gx.port",
        forms.PORT,
        "Its MQTT port.",
        env="VICTRON_PORT",
        option="gx-port",
        default_text="8883 with TLS, 1883 without",
    ),
    Key(
        "gx.portal_id",
        forms.PORTAL_ID,
        "The GX's id in the VRM portal.",
        env="VICTRON_VRM_ID",
        option="portal-id",
        default_text="discovered",
    ),
    Key(
        "gx.username",
        forms.NAME,
        "User name for the GX's broker, which ignores it unless it is a token's.",
        env="VICTRON_MQTT_USERNAME",
    ),
    Key("gx.password", forms.SECRET, "The password of the GX's security profile.", env="VICTRON_MQTT_PASSWORD"),
    Key(
        "gx.password_file",
        forms.PASSWORD_FILE,
        "The password, in a file of its own; read again when a login is refused.",
    ),
    Key(
        "gx.password_secret",
        forms.SECRET_ARN,
        "The password, in AWS Secrets Manager; through Greengrass.",
    ),
    Key(
        "gx.trust",
        forms.TRUST,
        "How the GX's certificate is trusted: `tofu` (the first one seen is kept), `pin:SHA256` (of the certificate's"
        " DER form, in hex), `ca:FILE`, `system` (the machine's roots), `insecure` (TLS unchecked),"
        " `plaintext` (no TLS).",
        "tofu",
        env="VICTRON_TRUST",
        option="gx-trust",
    ),
    milliseconds(
        "gx.connect_timeout",
        30.0,
        "How long a connection, its TLS handshake and its login may take together.",
        mission=("connectionTimeout",),
    ),
    Key(
        "gx.max_retries",
        forms.COUNT,
        "Failed attempts in a row after which the process ends.",
        mission=("maxRetries",),
        default_text="without end",
    ),
    Key(
        "gx.thing_name",
        forms.THING,
        "The thing of a further GX.",
        default_text="`<thing_name>-<portal id>`",
    ),
    *(
        Key(
            f"gx.primary.{service}",
            forms.COUNT,
            f"The device instance that stands at the top of `victron-{service}`.",
            default_text="what the GX names, else the lowest",
        )
        for service in PRIMARIES
    ),
    Key(
        "thing_name",
        forms.THING,
        "The AWS IoT thing whose shadows are written. The environment stands below the file here: Greengrass sets it"
        " for every component.",
        "victron-twin",
        env="AWS_IOT_THING_NAME",
    ),
    milliseconds("cadence.critical", 1.0, "How often what is critical is written, if it changed."),
    milliseconds(
        "cadence.normal",
        10.0,
        "The same for most fields.",
        env="UPDATE_FREQUENCY",
        mission=("updateFrequency",),
    ),
    milliseconds("cadence.slow", 60.0, "The same for configuration and statistics."),
    milliseconds(
        "cadence.batch",
        10.0,
        "The longest that a change which is due waits for others to go with it.",
        env="BATCH_TIMEOUT",
    ),
    Key(
        "include",
        forms.PATHS,
        "What is twinned: patterns over `<service>/<D-Bus path>`.",
        (),
        mission=("supportedNamespaces",),
        mission_form=forms.NAMESPACES,
        default_text="all",
    ),
    Key("exclude", forms.PATHS, "What of that is left out, alike.", (), default_text="none"),
    Key(
        "raw",
        forms.PATHS,
        "What no table of the catalogue has and is passed on all the same, as it is on the bus, under `raw`: patterns"
        " alike. Secrets are never passed on.",
        (),
        default_text="none",
    ),
    Key(
        "position.privacy",
        forms.choice("off", "rounded", "moved"),
        "What is shown of the position: all of it (`off`), `rounded` to `position.decimals`, or another only when the"
        " site has `moved` by `position.distance`.",
        "off",
    ),
    Key("position.deadband", forms.METRES, "Metres that a position moves before another is written.", 20.0),
    Key("position.decimals", forms.DECIMALS, "Decimals of degrees that are left by `rounded`; 2 are about 1 km.", 2),
    Key("position.distance", forms.METRES, "Metres for `moved`.", 500.0),
    Key(
        "backend",
        forms.choice(*forms.BACKENDS),
        "Where the shadows are kept.",
        "auto",
        env="VICTRON_TWIN_BACKEND",
        option="backend",
    ),
    Key(
        "state_dir",
        forms.FOLDER,
        "The folder for all that outlives the process.",
        env="VICTRON_TWIN_STATE_DIR",
        option="state-dir",
        default_text="the component's work folder under Greengrass, else the user's state folder",
    ),
    Key(
        "http",
        forms.ENDPOINT,
        "Where the page and the HTTP interface listen.",
        "tcp:8480:interface=127.0.0.1",
        env="VICTRON_TWIN_HTTP",
        option="http",
    ),
    Key(
        "manhole",
        forms.ENDPOINT,
        "Where an SSH shell into the process listens.",
        env="VICTRON_TWIN_MANHOLE",
        option="manhole",
        default_text="off",
    ),
    Key("manhole_keys", forms.FILE, "Who may use that shell: an authorized_keys file."),
    Key(
        "commands.mode",
        forms.choice("off", "allow-list", "all"),
        "What the cloud may change.",
        "allow-list",
        env="VICTRON_TWIN_COMMANDS",
    ),
    Key("commands.allow", forms.COMMANDS, "What is allowed beside the default.", ()),
    Key("commands.deny", forms.COMMANDS, "What is never allowed, alike.", ()),
    Key(
        "commands.limits",
        forms.LIMITS,
        "What numbers may be at least and at most, in the unit of the field: narrower than the GX's own range, or the"
        " bound that one without any needs.",
        (),
    ),
    Key("commands.rate", forms.RATE, "Writes a minute to one point that is kept in flash, at most.", RATE),
    Key(
        "commands.raw",
        forms.PATHS,
        "Which paths that no table of the catalogue has may be written, under `raw`; `raw` must show them.",
        (),
        default_text="none",
    ),
    Key(
        "commands.enforce",
        forms.FIELDS,
        "Which fields are written again, as they were desired, when they are changed at the GX; a few times an hour.",
        (),
        default_text="none: a change at the GX is followed",
    ),
    Key(
        "commands.cloud_timeout",
        forms.SECONDS,
        "How long the cloud may be out of reach before setpoints that it has asked for are let go of.",
        300.0,
    ),
    Key(
        "audit.max_bytes",
        forms.AUDIT_BYTES,
        "How much of the audit log is kept: all its files together; the oldest goes first. Each has a tenth of it.",
        20_000_000,
    ),
    Key(
        "audit.max_age",
        forms.SECONDS,
        "How long it is kept, alike.",
        31_536_000.0,
        default_text="31536000 s: a year",
    ),
    Key(
        "audit.topic",
        forms.TOPIC,
        "The topic of AWS IoT Core to which it is published, from then on; `{thing}` in it stands for the thing's name."
        " Not with the backend `local`.",
        default_text="none",
    ),
    Key("iotcore.endpoint", forms.HOST_NAME, "The account's AWS IoT data endpoint."),
    Key("iotcore.certificate", forms.FILE, "The device's certificate (PEM)."),
    Key("iotcore.key", forms.FILE, "Its private key (PEM)."),
    Key("iotcore.ca", forms.FILE, "The roots that the endpoint is trusted by (PEM).", default_text="Amazon's own"),
    Key(
        "log_level",
        forms.choice("debug", "info", "warn", "error", "critical"),
        "The least that is logged.",
        "info",
        env="VICTRON_TWIN_LOG_LEVEL",
        option="log-level",
    ),
    Key(
        "log_format",
        forms.choice("human", "json"),
        "How the log is written: for people, or a JSON object a line.",
        "human",
        env="VICTRON_TWIN_LOG_FORMAT",
        option="log-format",
    ),
    Key(
        "demo",
        forms.BOOLEAN,
        "Start a simulated GX and use that.",
        False,
        env="VICTRON_TWIN_DEMO",
        option="demo",
    ),
)

#: The mission's way to say how a GX is trusted; a layer that has these gets a ``gx.trust`` of them.
TLS_ENABLED = Key("security.tlsEnabled", forms.BOOLEAN, "`gx.trust` in other words: false is `plaintext`.")
CERTIFICATE_VALIDATION = Key(
    "security.certificateValidation", forms.BOOLEAN, "The same: true is `system`, false is `tofu`."
)
SECURITY: Sequence[Key] = (TLS_ENABLED, CERTIFICATE_VALIDATION)

#: The file itself is named by an option or in the environment.
CONFIG_OPTION, CONFIG_ENV = "config", "VICTRON_TWIN_CONFIG"


def option_parameters() -> list[list[str | None]]:
    """``optParameters`` for :class:`twisted.python.usage.Options`; an option that is not given is None."""
    rows: list[list[str | None]] = [[CONFIG_OPTION, None, None, "The configuration file (TOML)."]]
    for key in KEYS:
        if key.option and not key.flag:
            default = key.default_text or key.default
            rows.append([key.option, None, None, f"{key.help} [{default}]" if default else key.help])
    return rows


def option_flags() -> list[list[str | None]]:
    """``optFlags`` for the same."""
    return [[key.option, None, key.help] for key in KEYS if key.option and key.flag]
