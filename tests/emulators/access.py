"""What a component may do: the ``accessControl`` of its recipe, as the nucleus reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .connection import PREFIX, Failed

SHADOWS = "aws.greengrass.ShadowManager"
TOPICS = "aws.greengrass.ipc.pubsub"
IOT_CORE = "aws.greengrass.ipc.mqttproxy"
SECRETS = "aws.greengrass.SecretManager"

#: service -> policy id -> {"operations": [...], "resources": [...]}
Control = Mapping[str, Mapping[str, Mapping[str, Any]]]


def fits(pattern: str, resource: str) -> bool:
    """The form for all services: ``*`` is any text, slashes too; ``${x}`` is the character x."""
    parts = re.split(r"\$\{(.)\}|(\*)", pattern)
    # Every third part is plain; of the other two one is None.
    expression = "".join(
        ".*" if part == "*" and at % 3 == 2 else re.escape(part or "") for at, part in enumerate(parts)
    )
    return re.fullmatch(expression, resource, re.DOTALL) is not None


def covers(wide: str, narrow: str) -> bool:
    """The other form for IoT Core: whether every topic of a topic or filter is one of the wide filter."""
    wanted, given = wide.split("/"), narrow.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at == len(given) or given[at] == "#" or level not in ("+", given[at]):
            return False
    return len(wanted) == len(given)


def allows_on_iot_core(allowed: str, resource: str) -> bool:
    """Both nuclei try both forms."""
    return covers(allowed, resource) or fits(allowed, resource)


class Access:
    """Without a control everything is allowed."""

    def __init__(self, control: Control | None, component: str, lite: bool) -> None:
        self._control = control
        self._component = component
        self._lite = lite

    def check(self, service: str, operation: str, resource: str) -> None:
        """Raises :class:`Failed` where no policy allows the operation on the resource."""
        if self._control is None:
            return
        allows: Callable[[str, str], bool] = allows_on_iot_core if service == IOT_CORE else fits
        for policy in self._control.get(service, {}).values():
            if not {"*", PREFIX + operation}.isdisjoint(policy["operations"]) and any(
                allowed == "*" or allows(allowed, resource) for allowed in policy["resources"]
            ):
                return
        raise Failed(
            "UnauthorizedError",
            "IPC Operation not authorized."
            if self._lite
            else f"Principal {self._component} is not authorized to perform {service}:{PREFIX}{operation} "
            f"on resource {resource}",
        )
