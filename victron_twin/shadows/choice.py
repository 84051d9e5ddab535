"""Which backend keeps the shadows: decided once, at the start, and said with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from victron_twin.config import ConfigError

SOCKET = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
TOKEN = "SVCUID"

#: What comes in an extra, and the extra.
NEEDS_NUCLEUS = {"greengrass", "greengrass-mqtt"}
NEEDS_SDK = {"greengrass", "greengrass-mqtt", "iotcore"}


def under_greengrass(environ: Mapping[str, str]) -> bool:
    """Whether a nucleus has started this process."""
    return bool(environ.get(SOCKET) and environ.get(TOKEN))


def sdk_is_there() -> bool:
    return find_spec("awsiot") is not None


def choose(backend: str, environ: Mapping[str, str], iotcore_endpoint: str | None) -> tuple[str, str]:
    """``(name, reason)`` of the backend to use. Raises ConfigError.

    ``auto`` under Greengrass never falls back to ``local``: the shadows would silently never reach the cloud.
    """
    name, reason = backend, "configured"
    if backend == "auto":
        there = [variable for variable in (SOCKET, TOKEN) if environ.get(variable)]
        if len(there) == 1:
            missing = TOKEN if there == [SOCKET] else SOCKET
            raise ConfigError(
                f"backend: auto finds {there[0]} but not {missing} in the environment: under Greengrass both are set; "
                "set backend = local to run without it"
            )
        if there:
            name, reason = "greengrass", "run under Greengrass"
        elif iotcore_endpoint:
            name, reason = "iotcore", "iotcore.endpoint is set"
        else:
            name, reason = "local", "neither Greengrass nor iotcore.endpoint is there"
    if name in NEEDS_NUCLEUS and not under_greengrass(environ):
        raise ConfigError(
            f"backend: {name} needs a Greengrass nucleus, which sets {SOCKET} and {TOKEN} for its components: here "
            "they are not set"
        )
    if name in NEEDS_SDK and not sdk_is_there():
        raise ConfigError(f"backend: {name} ({reason}) needs the AWS IoT SDK: pip install 'victron-twin[greengrass]'")
    return name, reason


def no_cloud(name: str) -> ConfigError:
    """What is wrong with a topic for the audit log where the backend of this name was chosen."""
    return ConfigError(
        f"audit.topic: the backend {name} has no cloud to publish to: take the topic out, or set backend = iotcore, "
        "greengrass or greengrass-mqtt"
    )
