"""Shadow Manager's way to the cloud as a model: one call at a time, and what waits for its turn is merged."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from math import floor
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from victron_twin.twin import shadow as rules
from victron_twin.twin.shadow import Shadow, same

from .cloud import ANSWER, Cloud
from .merging import Object, difference, merged, reconciled

Key = tuple[str, str]
State = Mapping[str, Any]

#: After an error that passes, in s, doubled up to the second.
FIRST_WAIT, LONGEST_WAIT = 3.0, 60.0
PASSING = re.compile("429|5..")


class Store(Protocol):
    """The local store."""

    lost: list[str]

    def stored(self, key: Key) -> Shadow | None: ...
    def all_stored(self) -> Collection[Key]: ...
    def bring_down(self, key: Key, state: Mapping[str, Object]) -> Shadow: ...
    def take_away(self, key: Key) -> None: ...


class Kind(Enum):
    UP = auto()  #: a local update goes to the cloud
    DOWN = auto()  #: an update of the cloud comes
    UP_DELETE = auto()
    DOWN_DELETE = auto()
    FULL = auto()  #: both documents are compared with what they were when last in sync


#: What needs no call to the cloud.
COMING = (Kind.DOWN, Kind.DOWN_DELETE)


@dataclass(frozen=True, slots=True)
class Task:
    """What waits to be done about one shadow. ``state`` is the patch of an update, ``version`` the cloud's."""

    kind: Kind
    state: State | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Synced:
    """A shadow when it was last in sync: the versions, and what it held. ``seen`` is the cloud's last known version;
    ``cloud`` is 0 where its shadow was deleted."""

    local: int = 0
    cloud: int = 0
    seen: int = 0
    state: Object | None = None


class Conflict(Exception):
    """The cloud's shadow has another version than it should."""


class CloudSync:
    """The queue of all shadows and the one thread that works on it.

    Realtime: each task begins when the thread is free, and takes ``latency`` seconds; with a ``period`` it waits for
    the next multiple of it. A failure that is none of throttling, 5xx and conflict skips a task for good, silently:
    here ``skipped`` tells. While the link is away the queue is kept; when it is back, what is not in the queue is
    compared. How the real one begins then is not quite known: this is the way on which more gets lost.
    """

    def __init__(self, clock: IReactorTime, cloud: Cloud, store: Store, synced: Collection[Key] | None) -> None:
        self.latency = 0.0
        self.period = 0.0
        self.skipped: list[str] = []
        self._clock = clock
        self._cloud = cloud
        self._store = store
        self._which = None if synced is None else frozenset(synced)
        self._queue: dict[Key, Task] = {}
        self._flight: tuple[Key, Task, Shadow | None] | None = None
        self._call: IDelayedCall | None = None
        self._wait = 0.0
        self._draining = False
        self._synced: defaultdict[Key, Synced] = defaultdict(Synced)
        self._failures: defaultdict[Key, list[int]] = defaultdict(list)
        cloud.listen(self._heard)
        cloud.watch_link(self._link_changed)
        self._compare_all()

    def settled(self) -> bool:
        """Nothing waits, and nothing is under way."""
        return not self._queue and self._flight is None

    def updated(self, key: Key, state: State | None) -> None:
        """A local update was accepted."""
        self._put(key, Task(Kind.UP, state))

    def deleted(self, key: Key) -> None:
        """A local shadow was deleted."""
        self._put(key, Task(Kind.UP_DELETE))

    def fail_next(self, thing: str, shadow: str, count: int = 1, code: int = 403) -> None:
        """Let the next calls about a shadow fail with an HTTP status: by default one that skips."""
        self._failures[thing, shadow] += [code] * count

    def heal(self) -> None:
        """No call fails any more."""
        self._failures.clear()

    def restart(self) -> None:
        """Forget what waits, as the process does that ends, and compare all."""
        if self._call is not None:
            self._call.cancel()
        self._call = self._flight = None
        self._queue.clear()
        self._draining, self._wait = False, 0.0
        self._compare_all()

    def _compare_all(self) -> None:
        keys = (
            {*self._store.all_stored(), *self._cloud.shadows(), *self._synced} if self._which is None else self._which
        )
        for key in sorted(keys):
            if key not in self._queue:
                self._put(key, Task(Kind.FULL))

    def _link_changed(self) -> None:
        if self._cloud.online:
            self._compare_all()
            self._wake()

    def _heard(self, topic: str, payload: bytes) -> None:
        """An update or a delete of somebody else in the cloud; one's own is known by its version."""
        told = ANSWER.fullmatch(topic)
        kinds = {"update/accepted": Kind.DOWN, "delete/accepted": Kind.DOWN_DELETE}
        if told is None or told[3] not in kinds:
            return
        key, message = (told[1], told[2] or ""), json.loads(payload)
        task = Task(kinds[told[3]], message.get("state"), message["version"])
        if task.version > self._synced[key].seen and not (task.kind is Kind.DOWN and self._is_here(key, task)):
            self._put(key, task)

    def _put(self, key: Key, task: Task) -> None:
        if self._which is not None and key not in self._which:
            return
        held = self._queue.get(key)
        self._queue[key] = task if held is None else self._merge(key, held, task)
        self._wake()

    def _wake(self) -> None:
        """Let the thread go on, if it has something to do."""
        if self._call is not None or not self._queue or not self._cloud.online:
            return
        if self._wait:
            self._call = self._clock.callLater(self._wait, self._go_on)
        elif self.period and not self._draining:
            now = self._clock.seconds()
            tick = (floor(now / self.period) + 1) * self.period
            self._call = self._clock.callLater(tick - now, self._go_on)
        else:
            self._take()

    def _go_on(self) -> None:
        self._call = None
        if self._cloud.online and self._queue:
            self._draining = True
            self._take()

    def _take(self) -> None:
        key = next(iter(self._queue))
        task = self._queue.pop(key)
        self._flight = key, task, self._store.stored(key)
        self._call = self._clock.callLater(0.0 if task.kind in COMING else self.latency, self._land)

    def _land(self) -> None:
        assert self._flight is not None
        key, task, local = self._flight
        self._call = self._flight = None
        coming = task.kind in COMING
        failures = self._failures[key]
        if not self._cloud.online or (coming and key in self._queue):
            self._put_back(key, task)
        elif coming or not failures:
            self._wait = 0.0
            try:
                self._do(key, task, local)
            except Conflict:
                self._put_back(key, Task(Kind.FULL))
        elif PASSING.fullmatch(str(failures[0])):
            failures.pop(0)
            self._wait = min(max(FIRST_WAIT, 2 * self._wait), LONGEST_WAIT)
            self._put_back(key, task)
        else:
            self.skipped.append(f"{_name(key)}: {failures.pop(0)} for {task.kind.name} {json.dumps(task.state)}")
        self._draining = self._draining and bool(self._queue)
        self._wake()

    def _put_back(self, key: Key, task: Task) -> None:
        newer = self._queue.get(key)
        self._queue[key] = task if newer is None else self._merge(key, task, newer)

    def _merge(self, key: Key, old: Task, new: Task) -> Task:
        """One task of two; what gets lost is told, where it makes a difference for what the cloud has now."""
        updates, deletes = (Kind.UP, Kind.DOWN), (Kind.UP_DELETE, Kind.DOWN_DELETE)
        if Kind.FULL in (old.kind, new.kind):
            return Task(Kind.FULL)
        if old.kind is new.kind and old.kind in updates:
            state = merged({"state": old.state}, {"state": new.state}).get("state", {})
            result = replace(new, state=state)
        elif new.kind in deletes and old.kind in updates:
            result = new
        elif old.kind in deletes and new.kind in updates:
            result = old  # the delete is not yet done, and goes first: the update is forgotten
        elif old.kind is new.kind:
            result = old
        else:
            result = Task(Kind.FULL)
        if {old.kind, new.kind} <= {Kind.UP, Kind.UP_DELETE}:
            cloud = self._cloud_after(key)
            if not _alike(_applied(_applied(cloud, old), new), _applied(cloud, result)):
                self._lose(key, f"{json.dumps(new.state)} came while {json.dumps(old.state)} waited to be synced")
        return result

    def _do(self, key: Key, task: Task, local: Shadow | None) -> None:
        if task.kind is Kind.UP:
            self._up(key, task, local)
        elif task.kind is Kind.DOWN:
            self._down(key, task)
        elif task.kind is Kind.UP_DELETE:
            self._delete_up(key)
        elif task.kind is Kind.DOWN_DELETE:
            self._store.take_away(key)
            self._synced[key] = Synced(seen=task.version)
        else:
            self._compare(key, local)

    def _up(self, key: Key, task: Task, local: Shadow | None) -> None:
        last = self._synced[key]
        if local is None:
            return
        if (
            last.state is not None
            and task.state is not None
            and _alike_states(merged(last.state, task.state), last.state)
        ):
            # It is thought to be there: whether it is, nobody looks.
            if not _alike(_applied(self._cloud.stored(*key), task), self._cloud.stored(*key)):
                self._lose(key, f"{json.dumps(task.state)} is not sent: it is what was synced last")
            self._synced[key] = replace(last, local=local.version)
            return
        if not last.cloud and not self._cloud.stored(*key).deleted:
            raise Conflict  # there is one that is not known here
        self._write(key, task.state, last.cloud, local)

    def _write(self, key: Key, state: State | None, version: int, local: Shadow) -> None:
        """Update the cloud's shadow, and remember that it is as the local one."""
        request = {"state": state, **({"version": version} if version else {})}
        try:
            answer = self._cloud.update(*key, request)
        except rules.Refused as refused:
            if refused.code == 409:
                raise Conflict from None
            self._lose(key, f"the cloud refuses {json.dumps(state)}: {refused.message}")
            return
        self._synced[key] = Synced(local.version, answer["version"], answer["version"], _state(local))

    def _down(self, key: Key, task: Task) -> None:
        last = self._synced[key]
        if task.version <= last.seen or self._is_here(key, task):
            return
        if task.version != last.seen + 1:
            raise Conflict
        held = self._store.stored(key)
        before = _state(held) if held is not None else {}
        after = self._store.bring_down(key, merged(before, task.state) if task.state is not None else {})
        self._synced[key] = Synced(after.version, task.version, task.version, _state(after))

    def _is_here(self, key: Key, task: Task) -> bool:
        """Whether the local shadow has what the cloud tells; then only its version is news."""
        held = self._store.stored(key)
        if held is None or task.state is None or not _alike_states(merged(_state(held), task.state), _state(held)):
            return False
        last = self._synced[key]
        if task.version > last.seen:
            if task.version > last.seen + 1:
                self._lose(key, f"the cloud's versions from {last.seen + 1} are taken for done: {task.version} is here")
            self._synced[key] = replace(last, cloud=task.version, seen=task.version)
        return True

    def _delete_up(self, key: Key) -> None:
        seen = self._synced[key].seen
        with suppress(rules.Refused):  # it is not there
            seen = self._cloud.delete(*key)["version"]
        self._synced[key] = Synced(seen=seen)

    def _compare(self, key: Key, local: Shadow | None) -> None:
        """Bring both sides to one state. Where both have changed, reported is as it is here, desired as in the cloud;
        where one is gone, the other goes too, unless it has changed since."""
        last, cloud = self._synced[key], self._cloud.stored(*key)
        if self._store.stored(key) is not local and cloud.version != last.cloud:
            raise Conflict  # what is here now cannot be overwritten with what was decided on another
        here = local is not None and local.version != last.local
        if local is None or cloud.deleted:
            if local is not None and here:
                self._write(key, _state(local), 0, local)
            elif local is not None:
                self._store.take_away(key)
                self._synced[key] = Synced(seen=cloud.version)
            elif not cloud.deleted and cloud.version != last.cloud:
                made = self._store.bring_down(key, _state(cloud))
                self._synced[key] = Synced(made.version, cloud.version, cloud.version, _state(made))
            elif not cloud.deleted:
                self._delete_up(key)
            return
        there = cloud.version != last.cloud
        base = last.state or {}
        state = {
            name: value
            for name, wins in (("desired", True), ("reported", False))
            if (value := reconciled(_state(local).get(name), _state(cloud).get(name), base.get(name), cloud_wins=wins))
        }
        if there:
            local = self._store.bring_down(key, state)
        patch = difference(_state(cloud), state)
        if here and patch:
            self._write(key, patch, cloud.version, local)
        else:
            self._synced[key] = Synced(local.version, cloud.version, cloud.version, _state(local))

    def _cloud_after(self, key: Key) -> Shadow:
        """What the cloud has once what is under way is done."""
        cloud = self._cloud.stored(*key)
        return _applied(cloud, self._flight[1]) if self._flight is not None and self._flight[0] == key else cloud

    def _lose(self, key: Key, why: str) -> None:
        self._store.lost.append(f"{_name(key)}: {why}")


def _name(key: Key) -> str:
    return "/".join(key)


def _state(shadow: Shadow) -> Object:
    return {name: section.values for name in rules.SECTIONS if (section := getattr(shadow, name)).values}


def _applied(cloud: Shadow, task: Task) -> Shadow:
    """The cloud's shadow after an update or a delete, by the cloud's own rules."""
    if task.kind is Kind.UP_DELETE:
        return rules.delete(cloud, 0)[0]
    if task.kind is not Kind.UP:
        return cloud
    try:
        return rules.update(cloud, rules.read({"state": task.state}), 0)[0]
    except rules.Refused:
        return cloud


def _alike(one: Shadow, other: Shadow) -> bool:
    return one.deleted == other.deleted and _alike_states(_state(one), _state(other))


def _alike_states(one: State, other: State) -> bool:
    return same(dict(one), dict(other))
