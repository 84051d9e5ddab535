"""What a component tells of its life, and updates of it that it may put off."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .connection import Body, Failed, Stream

#: How long a component may take to answer before its update goes on, in s.
PATIENCE = 60.0


class Deferral(NamedTuple):
    """The answer of a component to an update: 0 ms lets it go on at once."""

    deployment: str
    recheck_after_ms: int
    message: str


class Lifecycle:
    """``states`` are what the component reported, ``deferred`` its answers, ``updated`` the updates that went on."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._subscriptions: dict[Stream, None] = {}
        self._pending: dict[str, IDelayedCall] = {}
        self._asked: deque[str] = deque()
        self.states: list[str] = []
        self.deferred: list[Deferral] = []
        self.updated: list[str] = []

    def stop(self) -> None:
        for call in self._pending.values():
            call.cancel()
        self._pending.clear()
        self._asked.clear()

    def update_state(self, stream: Stream, request: Body) -> Body:
        state = request.get("state")
        if state not in ("RUNNING", "ERRORED"):
            raise Failed("InvalidArgumentsError", f"Invalid state: {state}")
        self.states.append(state)
        return {}

    def update(self, deployment: str, restarting: bool = False) -> None:
        """An update of the component is due: it is asked, and goes on if it does not answer."""
        if not self._subscriptions:
            self._go_on(deployment)
            return
        if deployment in self._pending:
            self._pending[deployment].cancel()
        if deployment not in self._asked:
            self._asked.append(deployment)
        self._pending[deployment] = self._clock.callLater(PATIENCE, self._go_on, deployment)
        self._send({"preUpdateEvent": {"deploymentId": deployment, "isGgcRestarting": restarting}})

    def subscribe(self, stream: Stream, request: Body) -> Body:
        self._subscriptions[stream] = None
        stream.on_end(lambda: self._subscriptions.pop(stream))
        return {}

    def defer(self, stream: Stream, request: Body) -> Body:
        if not self._subscriptions:
            raise Failed("InvalidArgumentsError", "Component is not subscribed to component update events")
        if not self._asked:
            raise Failed("ServiceError", "Time limit to respond to PreComponentUpdateEvent exceeded")
        # Whatever deployment it names, the answer is to the last that was asked about.
        deployment = self._asked.pop()
        wait = request.get("recheckAfterMs") or 0
        self.deferred.append(Deferral(request.get("deploymentId") or deployment, wait, request.get("message") or ""))
        self._pending.pop(deployment).cancel()
        if wait > 0:
            self._pending[deployment] = self._clock.callLater(wait / 1000, self._again, deployment)
        else:
            self._go_on(deployment)
        return {}

    def _again(self, deployment: str) -> None:
        del self._pending[deployment]
        self.update(deployment)

    def _go_on(self, deployment: str) -> None:
        self._pending.pop(deployment, None)
        if deployment in self._asked:
            self._asked.remove(deployment)
        self.updated.append(deployment)
        self._send({"postUpdateEvent": {"deploymentId": deployment}})

    def _send(self, body: Body) -> None:
        for stream in list(self._subscriptions):
            stream.send("ComponentUpdatePolicyEvents", body)
