"""Greengrass' Shadow Manager as a model: its local store, with the rules by which it loses what it is told.

What it does is known from its behaviour under version 2.3: most of it is as in the cloud, some is not, and where it is
not, data is lost without an error. ``ShadowManager.lost`` has a line for each time; tests hold it to be empty.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime

from victron_twin.twin import shadow as rules
from victron_twin.twin.shadow import NEVER, Request, Section, Shadow

from .cloud import Cloud, Document, delta
from .cloud_sync import CloudSync
from .merging import Object, Path, found, leaves, merged, nothing

#: Called with thing, shadow and the payload of each delta that is published locally.
Listener = Callable[[str, str, bytes], None]

MAX_LEVELS = 6
MAX_STATE = 8192
SHADOW_NAME = re.compile(r"[a-zA-Z0-9:_-]{0,64}")
#: Requests within a second, for a thing and for all of them.
THING_RATE, RATE = 20, 200


class Refused(Exception):
    """A request that is not accepted; ``error`` is the kind of the IPC's error.

    ConflictError, ResourceNotFoundError, InvalidArgumentsError, UnauthorizedError or ServiceError.
    """

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error
        self.message = message


class ShadowManager:
    """Every request fails with :class:`Refused` and nothing else. The name of the classic shadow is empty.

    ``limited`` is whether the rates of requests are. The way to the cloud is ``sync``; deltas are told before the
    answer to the update that made them.
    """

    def __init__(self, clock: IReactorTime, cloud: Cloud, synced: Collection[tuple[str, str]] | None = None) -> None:
        """``synced`` are the shadows (thing, name) that go to the cloud; None: all."""
        self.lost: list[str] = []
        self.limited = True
        self._clock = clock
        self._shadows: dict[tuple[str, str], Shadow] = {}
        self._listeners: list[Listener] = []
        self._requests: deque[float] = deque()
        self._requests_of: defaultdict[str, deque[float]] = defaultdict(deque)
        self.sync = CloudSync(clock, cloud, self, synced)

    def get(self, thing: str, shadow: str) -> Document:
        """The document. ResourceNotFoundError where there is none."""
        self._admit(thing, shadow)
        return rules.document(self._existing(thing, shadow), self._now())

    def update(self, thing: str, shadow: str, request: Mapping[str, Any] | bytes) -> Document:
        """Merge; the answer is ``{state, metadata, version, timestamp, clientToken?}``."""
        self._admit(thing, shadow)
        asked = _read(request)
        before = self._shadows.get((thing, shadow), NEVER)
        if asked.version is not None:
            if before.deleted and asked.version != 1:
                raise Refused("InvalidArgumentsError", "Invalid version")
            if not before.deleted and asked.version != before.version:
                raise Refused("ConflictError", "Version conflict")
        state: Mapping[str, Object | None] = dict.fromkeys(rules.SECTIONS) if asked.state is None else asked.state
        losses: list[str] = []
        sections = {name: getattr(before, name).values for name in rules.SECTIONS}
        missing = _missing(sections["desired"], state.get("desired") or {})
        try:
            for name, patch in state.items():
                sections[name] = _section(name, sections[name], patch, losses)
        except Refused:
            self._lose(thing, shadow, losses)
            raise
        if sum(len(rules.compact(section)) for section in sections.values() if section) > MAX_STATE:
            raise Refused("InvalidArgumentsError", "The payload exceeds the maximum size allowed")
        if missing:
            losses.append(f"desired has no {'.'.join(missing[0])} to clear: nothing of the update is synced or told")
        self._lose(thing, shadow, losses)
        after = self._keep(thing, shadow, sections, state)
        if missing:
            raise Refused("ServiceError", "Internal service failure")
        self.sync.updated((thing, shadow), asked.state)
        self._tell(thing, shadow, after, asked.token)
        answer = {
            "state": asked.state,
            "metadata": _stamps(asked.state, self._now()),
            "version": after.version,
            "timestamp": self._now(),
        }
        return answer if asked.token is None else answer | {"clientToken": asked.token}

    def delete(self, thing: str, shadow: str) -> Document:
        """Remove; the answer is ``{version, timestamp}``. The next one of the name begins at version 1."""
        self._admit(thing, shadow)
        version = self._existing(thing, shadow).version
        del self._shadows[thing, shadow]
        self.sync.deleted((thing, shadow))
        return {"version": version, "timestamp": self._now()}

    def named(self, thing: str) -> list[str]:
        """The names of a thing's named shadows, sorted. No rate limits this."""
        _check_names(thing, "")
        return sorted(shadow for owner, shadow in self._shadows if owner == thing and shadow)

    def listen(self, callback: Listener) -> Callable[[], None]:
        """Hear the local deltas; what is returned ends that."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def settled(self) -> bool:
        """Nothing waits to be synced."""
        return self.sync.settled()

    def document(self, thing: str, shadow: str) -> Document:
        """What a test looks at: the document, an empty one where there is none; no request is counted."""
        held = self.stored((thing, shadow))
        return rules.document(held, self._now()) if held is not None else {}

    def restart(self) -> None:
        """As the nucleus does: what waited for its way to the cloud is forgotten, and each shadow compared anew."""
        self._requests.clear()
        self._requests_of.clear()
        self.sync.restart()

    def stored(self, key: tuple[str, str]) -> Shadow | None:
        """What is kept of a shadow; None where there is none."""
        return self._shadows.get(key)

    def all_stored(self) -> Collection[tuple[str, str]]:
        """Thing and name of each shadow that there is."""
        return self._shadows.keys()

    def bring_down(self, key: tuple[str, str], state: Mapping[str, Object]) -> Shadow:
        """Take a state from the cloud. None of the losing rules stands in its way; metadata has the time of now."""
        before = self._shadows.get(key, NEVER)
        sections = {name: state.get(name, {}) for name in rules.SECTIONS}
        changed = {name: _all_of(sections[name], getattr(before, name).values) for name in rules.SECTIONS}
        after = self._keep(*key, sections, changed)
        self._tell(*key, after, None)
        return after

    def take_away(self, key: tuple[str, str]) -> None:
        """The cloud's was deleted."""
        self._shadows.pop(key, None)

    def _admit(self, thing: str, shadow: str) -> None:
        now = self._clock.seconds()
        counts = (self._requests_of[thing], THING_RATE), (self._requests, RATE)
        for times, most in counts if self.limited else ():
            while times and times[0] <= now - 1.0:
                times.popleft()
            if len(times) >= most:
                raise Refused("ServiceError", "Too Many Requests")
        for times, _ in counts:
            times.append(now)
        _check_names(thing, shadow)

    def _existing(self, thing: str, shadow: str) -> Shadow:
        held = self._shadows.get((thing, shadow))
        if held is None:
            raise Refused("ResourceNotFoundError", f"No shadow exists with name: {shadow or 'Unnamed Shadow'}")
        return held

    def _now(self) -> int:
        return int(self._clock.seconds())

    def _lose(self, thing: str, shadow: str, losses: list[str]) -> None:
        self.lost.extend(f"{thing}/{shadow}: {why}" for why in losses)

    def _keep(
        self, thing: str, shadow: str, sections: Mapping[str, Object], patch: Mapping[str, Object | None]
    ) -> Shadow:
        before = self._shadows.get((thing, shadow), NEVER)
        kept = {
            name: Section(values, _times(values, getattr(before, name).times, patch.get(name) or {}, self._now()))
            for name, values in sections.items()
        }
        after = Shadow(before.version + 1, kept["desired"], kept["reported"])
        self._shadows[thing, shadow] = after
        return after

    def _tell(self, thing: str, shadow: str, after: Shadow, token: str | None) -> None:
        difference = delta(after, self._now())
        if difference is None:
            return
        payload = rules.compact(difference if token is None else difference | {"clientToken": token})
        for callback in list(self._listeners):
            callback(thing, shadow, payload)


def _section(name: str, held: Object, patch: Object | None, losses: list[str]) -> Object:
    """A section after a patch, by the rules of loss; each that is broken leaves a line."""
    if patch is None:
        return {}
    if not patch:
        if held:
            losses.append(f"an empty {name} deletes the section")
        return {}
    if "state" in patch and nothing(patch["state"]):
        losses.append(
            f"{name} with a state that is nothing: {'the patch is lost' if 'state' in held else 'it is wiped'}"
        )
        return held if "state" in held else {}
    for path, value in leaves(patch):
        dotted = f"{name}.{'.'.join(path)}"
        if value == {}:
            losses.append(f"{dotted} is an empty object: it deletes")
        if value is None and not held:
            losses.append(f"{dotted} is null in the first write of its section: it is stored")
        if isinstance(value, list):
            if None in value:
                losses.append(f"{dotted} is an array with null: the cloud refuses it")
            old = found(held, path)
            if old is not None and not isinstance(old, list):
                losses.append(f"{dotted} becomes an array: it never does")
                raise Refused("ServiceError", "Internal service failure")
    return merged(held, patch) if held else patch


def _missing(held: Object, patch: Object) -> list[Path]:
    """What a patch clears that is not there."""
    if not held or ("state" in patch and nothing(patch["state"])):
        return []
    return [path for path, value in leaves(patch) if value is None and found(held, path) is None]


def _read(request: Mapping[str, Any] | bytes) -> Request:
    """An update that is well formed: as in the cloud, but for its levels and null in arrays."""
    try:
        body = request if isinstance(request, bytes) else rules.compact(dict(request))
        value = rules.parse(body)
    except rules.Refused as refused:
        raise Refused("ServiceError", refused.message) from None
    state = value.get("state") if isinstance(value, dict) else None
    sections = state.values() if isinstance(state, dict) else ()
    if any(_levels(section) > MAX_LEVELS for section in sections):
        raise Refused("InvalidArgumentsError", f"JSON contains too many levels of nesting; maximum is {MAX_LEVELS}")
    try:
        asked = rules.read(_tolerated(value))
    except rules.Refused as refused:
        raise Refused("InvalidArgumentsError", refused.message) from None
    return Request(state, asked.version, asked.token)


def _check_names(thing: str, shadow: str) -> None:
    for what, pattern, value in (("ThingName", rules.THING_NAME, thing), ("ShadowName", SHADOW_NAME, shadow)):
        if not pattern.fullmatch(value):
            raise Refused("InvalidArgumentsError", f"{what} must match pattern {pattern.pattern}")


def _levels(value: Any) -> int:
    """Objects and arrays inside one another."""
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_levels, value.values() if isinstance(value, dict) else value), default=0)


def _tolerated(value: Any, in_array: bool = False) -> Any:
    """The same with nulls in arrays replaced, which the cloud would refuse."""
    if isinstance(value, dict):
        return {key: _tolerated(inner, in_array) for key, inner in value.items()}
    if isinstance(value, list):
        return [_tolerated(inner, True) for inner in value]
    return 0 if in_array and value is None else value


def _times(values: Object, before: Object, patch: Object, now: int) -> Object:
    """When each leaf was written: now, where the patch has it."""
    times: Object = {}
    for key, value in values.items():
        old, new = before.get(key), patch.get(key)
        if isinstance(value, dict):
            inner = new if isinstance(new, dict) else {}
            times[key] = _times(value, old if isinstance(old, dict) else {}, inner, now)
        else:
            times[key] = old if key not in patch and old is not None else _now_in(value, now)
    return times


def _now_in(value: Any, now: int) -> Any:
    return [_now_in(inner, now) for inner in value] if isinstance(value, list) else now


def _all_of(values: Object, before: Object) -> Object:
    """The leaves that are others than before."""
    return {key: value for key, value in values.items() if before.get(key) != value}


def _stamps(value: Any, now: int) -> Any:
    """The metadata of an update's answer."""
    if isinstance(value, dict):
        return {key: _stamps(inner, now) for key, inner in value.items()}
    if isinstance(value, list):
        return [_stamps(inner, now) for inner in value]
    return {"timestamp": now}
