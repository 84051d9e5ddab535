"""The rules of the AWS IoT Device Shadow service, as functions over values.

From the service's developer guide and API reference ("Device Shadow service documents", "error messages"), and, where
these are silent, from what its clients' issue threads and test suites show of the real service:

- objects merge, null removes a key, anything else (an array too) replaces; a section that holds nothing is absent, an
  empty object inside one is a value;
- every accepted update counts one version up, and so does a delete: a shadow made anew goes on from there;
- ``state: null`` empties the shadow and is accepted; ``state: {}`` changes nothing but the version;
- keys beside ``state``, ``version`` and ``clientToken`` are ignored, keys inside ``state`` beside ``desired`` and
  ``reported`` are refused.

Where the cloud's answer is not known: a supplied version for a shadow that is not there is a conflict, unless it is 0;
an object whose last key is removed stays as an empty object.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

#: Bytes of desired and reported together as compact JSON in UTF-8, without metadata.
MAX_STATE = 8192
#: Objects and arrays inside one another, desired or reported itself counted.
MAX_LEVELS = 8
MAX_TOKEN = 64

SECTIONS = ("desired", "reported")
THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
SHADOW_NAME = re.compile(r"[$a-zA-Z0-9:_-]{1,64}")

Object = dict[str, Any]


class Refused(Exception):
    """The service's answer to a request it does not accept: an HTTP status and its words for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Section:
    """``desired`` or ``reported``: the values, and in the same shape when each leaf was written (epoch, s)."""

    values: Object
    times: Object


EMPTY = Section({}, {})


@dataclass(frozen=True, slots=True)
class Shadow:
    """A stored shadow. One that is deleted keeps its version; one that never was has version 0."""

    version: int
    desired: Section = EMPTY
    reported: Section = EMPTY
    deleted: bool = False


NEVER = Shadow(0, deleted=True)


@dataclass(frozen=True, slots=True)
class Request:
    """An update that is well formed. A section that is None is to be removed, one that is absent stays."""

    state: dict[str, Object | None] | None
    version: int | None
    token: str | None


def check_names(thing: str, shadow: str) -> None:
    """Refuse names that the service would; an empty shadow name is the classic shadow."""
    for key, pattern, value in (("thingName", THING_NAME, thing), ("shadowName", SHADOW_NAME, shadow or "classic")):
        if not pattern.fullmatch(value):
            raise Refused(
                400,
                f"1 validation error detected: Value '{value}' at '{key}' failed to satisfy constraint: "
                f"Member must satisfy regular expression pattern: {pattern.pattern}",
            )


def parse(body: bytes) -> Any:
    """The JSON of a request's body, read as strictly as the service does."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Refused(415, "Unsupported documented encoding; supported encoding is UTF-8") from None
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        _too_deep()
    except ValueError:
        _invalid_json()


def compact(value: Any) -> bytes:
    """The shortest JSON; what is no JSON (NaN, a lone surrogate, an object of Python's) is refused."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except RecursionError:
        _too_deep()
    except (TypeError, ValueError):
        _invalid_json()


def read(request: Any) -> Request:
    """Check an update's JSON, in the order and with the words of the service."""
    if not isinstance(request, Mapping) or "state" not in request:
        raise Refused(400, "Missing required node: state")
    state = request["state"]
    if state is not None:
        if not isinstance(state, dict):
            raise Refused(400, "State node must be an object")
        for name, section in state.items():
            if name not in SECTIONS:
                raise Refused(400, f"State contains an invalid node: '{name}'")
            if section is not None:
                if not isinstance(section, dict):
                    raise Refused(400, f"{name.capitalize()} node must be an object")
                _check_levels(section, 1)
    version = request.get("version")
    if version is not None and (not isinstance(version, int) or isinstance(version, bool) or version < 0):
        raise Refused(400, "Invalid version")
    token = request.get("clientToken")
    if token is not None and (not isinstance(token, str) or len(token.encode(errors="replace")) > MAX_TOKEN):
        raise Refused(400, "Invalid clientToken")
    return Request(state, version, token)


def update(shadow: Shadow, request: Request, now: int) -> tuple[Shadow, Object]:
    """The shadow after an update, and the answer: ``{state, metadata, version, timestamp, clientToken?}``."""
    if request.version is not None and request.version != (0 if shadow.deleted else shadow.version):
        raise Refused(409, "Version conflict")
    state: Mapping[str, Object | None] = dict.fromkeys(SECTIONS) if request.state is None else request.state
    sections = {name: getattr(shadow, name) for name in SECTIONS}
    for name, patch in state.items():
        sections[name] = EMPTY if patch is None else _merge(sections[name], patch, now)
    if sum(len(compact(s.values)) for s in sections.values() if s.values) > MAX_STATE:
        raise Refused(413, "The payload exceeds the maximum size allowed")
    after = Shadow(shadow.version + 1, sections["desired"], sections["reported"])
    answer: Object = {
        "state": request.state,
        "metadata": _metadata(_stamped(request.state, now)),
        "version": after.version,
        "timestamp": now,
    }
    if request.token is not None:
        answer["clientToken"] = request.token
    return after, answer


def delete(shadow: Shadow, now: int) -> tuple[Shadow, Object]:
    """What is kept of a deleted shadow, and the answer: ``{version, timestamp}``."""
    after = Shadow(shadow.version + 1, deleted=True)
    return after, {"version": after.version, "timestamp": now}


def document(shadow: Shadow, now: int) -> Object:
    """What GetThingShadow answers: state with its delta, metadata, version, and the time of the answer."""
    present = {name: section for name in SECTIONS if (section := getattr(shadow, name)).values}
    state = {name: section.values for name, section in present.items()}
    difference = delta(shadow)
    if difference:
        state["delta"] = difference
    return {
        "state": state,
        "metadata": {name: _metadata(section.times) for name, section in present.items()},
        "version": shadow.version,
        "timestamp": now,
    }


def delta(shadow: Shadow) -> Object:
    """What is desired and not reported, each field with its desired value."""
    return _difference(shadow.desired.values, shadow.reported.values)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0, true is not 1, arrays are compared in order."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _difference(desired: Object, reported: Object) -> Object:
    result: Object = {}
    for key, wanted in desired.items():
        if key not in reported:
            result[key] = wanted
        elif isinstance(wanted, dict) and isinstance(reported[key], dict):
            inner = _difference(wanted, reported[key])
            if inner:
                result[key] = inner
        elif not same(wanted, reported[key]):
            result[key] = wanted
    return result


def _merge(section: Section, patch: Object, now: int) -> Section:
    values, times = dict(section.values), dict(section.times)
    for key, new in patch.items():
        if new is None:
            values.pop(key, None)
            times.pop(key, None)
        elif isinstance(new, dict):
            old = values.get(key)
            inner = _merge(Section(old, times[key]) if isinstance(old, dict) else EMPTY, new, now)
            values[key], times[key] = inner.values, inner.times
        else:
            values[key], times[key] = new, _stamped(new, now)
    return Section(values, times)


def _stamped(value: Any, now: int) -> Any:
    """The same shape with the time in place of every leaf."""
    if isinstance(value, dict):
        return {key: _stamped(inner, now) for key, inner in value.items()}
    if isinstance(value, list):
        return [_stamped(inner, now) for inner in value]
    return now


def _metadata(times: Any) -> Any:
    """Times as the service shows them: ``{"timestamp": s}`` for each leaf."""
    if isinstance(times, dict):
        return {key: _metadata(inner) for key, inner in times.items()}
    if isinstance(times, list):
        return [_metadata(inner) for inner in times]
    return {"timestamp": times}


def _check_levels(value: Any, level: int, in_array: bool = False) -> None:
    """``level`` is that of ``value``, were it an object or an array."""
    if value is None and in_array:
        raise Refused(400, "Arrays may not contain null")
    if not isinstance(value, dict | list):
        return
    if level > MAX_LEVELS:
        _too_deep()
    in_array = in_array or isinstance(value, list)
    for inner in value.values() if isinstance(value, dict) else value:
        _check_levels(inner, level + 1, in_array)


def _too_deep() -> NoReturn:
    raise Refused(400, f"JSON contains too many levels of nesting; maximum is {MAX_LEVELS}") from None


def _invalid_json() -> NoReturn:
    raise Refused(400, "Payload contains invalid json") from None


def _unique(pairs: list[tuple[str, Any]]) -> Object:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is out of range")
    return number
