"""AWS IoT's device shadow service as a model: the rules of its documents, and its face of MQTT topics."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from twisted.internet.interfaces import IReactorTime

from victron_twin.twin import shadow as rules
from victron_twin.twin.shadow import NEVER, Refused, Shadow

Document = dict[str, Any]
#: Called with the topic and the payload of each message that the service sends.
Listener = Callable[[str, bytes], None]

REQUEST = re.compile(r"\$aws/things/([^/]+)/shadow(?:/name/([^/]+))?/(get|update|delete)")
ANSWER = re.compile(r"\$aws/things/([^/]+)/shadow(?:/name/([^/]+))?/(.+)")
#: A delta that is delivered in disorder is late by up to so many seconds.
LATE = 2.0


def prefix(thing: str, shadow: str) -> str:
    """What the topics of a shadow begin with."""
    return f"$aws/things/{thing}/shadow" + (f"/name/{shadow}" if shadow else "")


class Cloud:
    """Shadows by thing and name; the classic shadow's name is empty.

    ``get``, ``update`` and ``delete`` are what a program asks over HTTPS: answered at once, and refused with
    :class:`victron_twin.twin.shadow.Refused`. Topics and listeners stand at the far end of the device's link: while
    that is not ``online`` nothing comes through in either direction, and nothing is kept. Messages come in the order
    in which they were made, each in a turn of its own of the clock; deltas in ``disorder`` come late, each by its own
    time, and some twice.
    """

    def __init__(self, clock: IReactorTime, random: Random | None = None) -> None:
        self.disorder = False
        self._clock = clock
        self._random = random or Random(0)
        self._online = True
        self._shadows: dict[tuple[str, str], Shadow] = {}
        self._listeners: list[Listener] = []
        self._links: list[Callable[[], None]] = []
        self._outbox: deque[tuple[str, bytes]] = deque()

    @property
    def online(self) -> bool:
        """Whether the device's link is there."""
        return self._online

    @online.setter
    def online(self, online: bool) -> None:
        if online != self._online:
            self._online = online
            for changed in list(self._links):
                changed()

    def watch_link(self, changed: Callable[[], None]) -> None:
        """Call this each time the link has come or gone."""
        self._links.append(changed)

    def get(self, thing: str, shadow: str) -> Document:
        """The document. Refused with 404 where there is none."""
        return rules.document(self._existing(thing, shadow), self._now())

    def update(self, thing: str, shadow: str, request: Mapping[str, Any] | bytes) -> Document:
        """Merge; the answer is ``{state, metadata, version, timestamp, clientToken?}``, and goes to listeners too."""
        rules.check_names(thing, shadow)
        body = request if isinstance(request, bytes) else rules.compact(dict(request))
        after, answer = rules.update(self.stored(thing, shadow), rules.read(rules.parse(body)), self._now())
        self._shadows[thing, shadow] = after
        self._send(thing, shadow, "update/accepted", answer)
        difference = delta(after, self._now())
        if difference is not None:
            token = {"clientToken": answer["clientToken"]} if "clientToken" in answer else {}
            self._send(thing, shadow, "update/delta", difference | token)
        return answer

    def delete(self, thing: str, shadow: str) -> Document:
        """Remove; its version goes on in the next one of the name."""
        after, answer = rules.delete(self._existing(thing, shadow), self._now())
        self._shadows[thing, shadow] = after
        self._send(thing, shadow, "delete/accepted", answer)
        return answer

    def named(self, thing: str) -> list[str]:
        """The names of a thing's named shadows, sorted."""
        return sorted(shadow for owner, shadow in self.shadows() if owner == thing and shadow)

    def shadows(self) -> list[tuple[str, str]]:
        """Thing and name of each shadow that there is."""
        return [key for key, shadow in self._shadows.items() if not shadow.deleted]

    def stored(self, thing: str, shadow: str) -> Shadow:
        """What is kept of a shadow, also where it is deleted or never was."""
        return self._shadows.get((thing, shadow), NEVER)

    def publish(self, topic: str, payload: bytes) -> None:
        """A message to the service over the device's link; those that are no requests are nobody's."""
        asked = REQUEST.fullmatch(topic)
        if asked is None or not self.online:
            return
        thing, shadow, verb = asked[1], asked[2] or "", asked[3]
        token = _token(payload)
        try:
            if verb == "get":
                self._send(thing, shadow, "get/accepted", self.get(thing, shadow) | token)
            elif verb == "update":
                self.update(thing, shadow, payload)
            else:
                self.delete(thing, shadow)
        except Refused as refused:
            answer = {"code": refused.code, "message": refused.message, "timestamp": self._now(), **token}
            self._send(thing, shadow, f"{verb}/rejected", answer)

    def listen(self, callback: Listener) -> Callable[[], None]:
        """Hear every message of the service; what is returned ends that."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def _existing(self, thing: str, shadow: str) -> Shadow:
        rules.check_names(thing, shadow)
        found = self.stored(thing, shadow)
        if found.deleted:
            raise Refused(404, f"No shadow exists with name: '{f'{thing}~{shadow}' if shadow else thing}'")
        return found

    def _now(self) -> int:
        return int(self._clock.seconds())

    def _send(self, thing: str, shadow: str, kind: str, payload: Document) -> None:
        if not self.online:
            return
        message = f"{prefix(thing, shadow)}/{kind}", rules.compact(payload)
        if self.disorder and kind == "update/delta":
            for _ in range(self._random.choice([1, 1, 2])):
                self._clock.callLater(self._random.uniform(0.0, LATE), partial(self._deliver, *message))
            return
        self._outbox.append(message)
        self._clock.callLater(0.0, lambda: self._deliver(*self._outbox.popleft()))

    def _deliver(self, topic: str, payload: bytes) -> None:
        if self.online:
            for callback in list(self._listeners):
                callback(topic, payload)


def delta(shadow: Shadow, now: int) -> Document | None:
    """What update/delta says of a shadow: ``{version, timestamp, state, metadata}``; None where nothing differs."""
    state = rules.delta(shadow)
    if not state:
        return None
    metadata = _selected(rules.document(shadow, now)["metadata"]["desired"], state)
    return {"version": shadow.version, "timestamp": now, "state": state, "metadata": metadata}


def _selected(metadata: Document, state: Document) -> Document:
    """Of the metadata of desired, that of a delta's fields."""
    return {
        key: _selected(metadata[key], value) if isinstance(value, dict) else metadata[key]
        for key, value in state.items()
    }


def _token(payload: bytes) -> Document:
    """The token that a request is answered with, were it malformed in all else."""
    try:
        token = json.loads(payload)["clientToken"]
    except (ValueError, TypeError, KeyError):
        return {}
    return {"clientToken": token} if isinstance(token, str) else {}
