"""What a configuration value may look like, and how text becomes it.

A :class:`Form` says in words what is allowed and holds the parser. A parser gets the value as it stands in its
layer (text from the environment, the command line and often from Greengrass; numbers, booleans and lists from a
file) and the folder that relative paths start from; it raises ``ValueError`` for what is not allowed, with a
message only where there is more to say than :attr:`Form.allowed`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twisted.internet.endpoints import serverFromString

from victron_twin.twin.policy import Limit

from .secret import Secret, read_password

TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")

#: How a GX is trusted where that takes no argument.
PLAIN_TRUST = ("tofu", "system", "insecure", "plaintext")


@dataclass(frozen=True, slots=True)
class Form:
    """``allowed`` completes the sentence "it must be ..."."""

    allowed: str
    parse: Callable[[Any, Path], Any]


def text(value: Any) -> str:
    """Text without blanks around it. A number is not text: ``0123`` would lose its zero on the way here."""
    if not isinstance(value, str):
        raise ValueError("it must be text: put it in quotes")
    if not value.strip():
        raise ValueError("it is empty")
    return value.strip()


def matching(allowed: str, pattern: str) -> Form:
    compiled = re.compile(pattern)

    def parse(value: Any, _base: Path) -> str:
        found = text(value)
        if not compiled.fullmatch(found):
            raise ValueError
        return found

    return Form(allowed, parse)


def choice(*words: str) -> Form:
    def parse(value: Any, _base: Path) -> str:
        # YAML reads a bare ``off`` as false, and so does a Greengrass recipe.
        word = "off" if value is False else text(value).lower()
        if word not in words:
            raise ValueError
        return word

    return Form(f"one of {', '.join(words)}", parse)


def boolean(value: Any, _base: Path) -> bool:
    word = str(value).strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise ValueError from None
    if not math.isfinite(found):
        raise ValueError
    return found


def whole(allowed: str, low: int, high: float = math.inf) -> Form:
    def parse(value: Any, _base: Path) -> int:
        found = number(value)
        if found != int(found) or not low <= found <= high:
            raise ValueError
        return int(found)

    return Form(allowed, parse)


def duration(unit: str, per_second: float) -> Form:
    def parse(value: Any, _base: Path) -> float:
        found = number(value) / per_second
        if found <= 0:
            raise ValueError
        return found

    return Form(f"a number of {unit} above 0", parse)


def distance(value: Any, _base: Path) -> float:
    found = number(value)
    if found < 0:
        raise ValueError
    return found


def words(value: Any) -> tuple[str, ...]:
    """A list of texts, or one text with commas between them."""
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)):
        raise ValueError
    return tuple(text(part) for part in value)


def patterns(value: Any, _base: Path) -> tuple[str, ...]:
    return words(value)


def limits(value: Any, _base: Path) -> tuple[Limit, ...]:
    return tuple(Limit.read(word) for word in words(value))


def namespaces(value: Any, _base: Path) -> tuple[str, ...]:
    """``["battery", "gps"]`` is ``("battery/*", "gps/*")``."""
    names = words(value)
    if not all(re.fullmatch(r"[a-z0-9]+", name) for name in names):
        raise ValueError
    return tuple(f"{name}/*" for name in names)


def host(value: Any, _base: Path) -> str:
    found = text(value)
    try:
        return str(ipaddress.ip_address(found.strip("[]")))
    except ValueError:
        pass
    if re.fullmatch(r"[^:/]+:\d+", found):
        raise ValueError("the port stands in gx.port (VICTRON_PORT)")
    if not re.fullmatch(r"[\w.-]{1,253}", found):
        raise ValueError
    return found


def path(value: Any, base: Path) -> Path:
    found = text(value)
    if "\0" in found:
        raise ValueError
    try:
        return base / Path(found).expanduser()
    except RuntimeError:
        raise ValueError("there is no such user") from None


def readable(value: Any, base: Path) -> Path:
    """A file that can be read now: a missing one is better said at the start than at the first use."""
    found = path(value, base)
    try:
        with found.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        raise ValueError(f"{found}: {error.strerror}") from None
    return found


def password_file(value: Any, base: Path) -> Path:
    found = readable(value, base)
    read_password(found)
    return found


def secret(value: Any, _base: Path) -> Secret:
    if not isinstance(value, str):
        raise ValueError("it must be text: put it in quotes")
    if not value:
        raise ValueError("it is empty")
    return Secret(value)


def trust(value: Any, base: Path) -> str:
    """The text in its plain form: a pin in lower case without colons, the file of a CA with its whole path."""
    kind, colon, rest = text(value).partition(":")
    if kind in PLAIN_TRUST and not colon:
        return kind
    if kind == "pin":
        pin = rest.replace(":", "").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", pin):
            raise ValueError("a pin is a SHA-256: 64 hex digits, colons between them allowed")
        return f"pin:{pin}"
    if kind == "ca":
        return f"ca:{readable(rest, base)}"
    raise ValueError


def endpoint(value: Any, _base: Path) -> str:
    found = text(value)
    try:
        serverFromString(cast(Any, None), found)  # only parsed: nothing touches the reactor before listen()
    except ValueError as error:
        raise ValueError(str(error)) from None
    except TypeError:
        raise ValueError("its arguments are wrong") from None
    except (LookupError, OSError, RuntimeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    port = re.match(r"(?:tcp|tcp6|ssl):(?:port=)?(-?\d+)", found)
    if port and not 0 <= int(port[1]) <= 65535:
        raise ValueError("its port must be from 0 to 65535")
    return found


def topic(value: Any, _base: Path) -> str:
    """As AWS IoT Core takes it: the rule of Basic Ingest does not count, and ``{thing}`` as the longest name does."""
    found = text(value)
    counted = found
    if found.startswith("$"):
        rule = re.match(r"\$aws/rules/\w+/(?=.)", found, re.ASCII)
        if rule is None:
            raise ValueError("with a $ only $aws/rules/<rule>/<topic> may begin")
        counted = found[rule.end() :]
    if re.search(r"[+#\x00-\x1f\x7f]", found):
        raise ValueError("it must be one topic, without wildcards (+ and #) and control characters")
    if re.search(r"[{}]", found.replace(THING_HERE, "")):
        raise ValueError(f"the only word in braces is {THING_HERE}")
    size = len(counted.replace(THING_HERE, "x" * LONGEST_THING).encode())
    if size > TOPIC_BYTES:
        raise ValueError(f"it has {size} bytes, with a thing's name of {LONGEST_THING}; {TOPIC_BYTES} are allowed")
    if counted.count("/") > TOPIC_SLASHES:
        raise ValueError(f"it has {counted.count('/')} slashes; {TOPIC_SLASHES} are allowed")
    return found


#: In a topic it stands for the name of a thing.
THING_HERE = "{thing}"
LONGEST_THING = 128
#: AWS IoT Core's limits of a topic.
TOPIC_BYTES, TOPIC_SLASHES = 256, 7

BACKENDS = ("auto", "greengrass", "greengrass-mqtt", "iotcore", "local")

HOST = Form("a host name or an IP address", host)
PORT = whole("a whole number from 1 to 65535", 1, 65535)
COUNT = whole("a whole number, 0 or more", 0)
AUDIT_BYTES = whole("a whole number of bytes, 100000 or more", 100_000)
PORTAL_ID = matching("letters and digits, as c0619ab12cd3", r"[0-9A-Za-z]+")
THING = matching("an AWS IoT thing name: 1 to 128 of a-z A-Z 0-9 : _ -", rf"[a-zA-Z0-9:_-]{{1,{LONGEST_THING}}}")
NAME = matching("text", r".+")
HOST_NAME = matching("a host name, with a port where that is not 8883", r"[\w.-]+(:\d{1,5})?")
DECIMALS = whole("a whole number from 0 to 6", 0, 6)
SECRET_ARN = matching("the ARN of a secret in AWS Secrets Manager", r"arn:[\w-]+:secretsmanager:[^\s]+")
SECRET = Form("text", secret)
METRES = Form("a number of metres, 0 or more", distance)
SECONDS = duration("seconds", 1)
MILLISECONDS = duration("milliseconds", 1000)
BOOLEAN = Form("true or false", boolean)
PATHS = Form("a list of patterns, as battery/* or vebus/Ac/*", patterns)
COMMANDS = Form("a list of patterns, as victron-vebus.mode=Off", patterns)
FIELDS = Form("a list of fields, as victron-vebus.mode", patterns)
LIMITS = Form("a list of limits, as victron-vebus.currentLimit=..10", limits)
RATE = whole("a whole number, 1 or more", 1)
NAMESPACES = Form("a list of service names, as battery, solarcharger, gps", namespaces)
FOLDER = Form("a folder", path)
FILE = Form("a file that can be read", readable)
PASSWORD_FILE = Form("a file that holds the password", password_file)
TRUST = Form("one of tofu, pin:SHA256, ca:FILE, system, insecure, plaintext", trust)
TOPIC = Form("an MQTT topic, as fleet/{thing}/audit or $aws/rules/audit/{thing}", topic)
ENDPOINT = Form("a Twisted endpoint, as tcp:8480:interface=127.0.0.1", endpoint)
