"""Whether the answers for one thing come through: its subscriptions, and what is done where they fall silent.

A subscription can be lost and nobody tells (the proxy of a restarted nucleus does): requests go out, and no answer
comes. So a thing that is silent is asked a question, and where that stays unanswered, all is subscribed to anew. While
it is in doubt, nothing else is sent: a proxy keeps what it cannot deliver, and would keep ever more of it.

=============  ===================  ======================================
state          input                next state
=============  ===================  ======================================
unused         wanted               subscribing
subscribing    subscribed           open
subscribing    refused              unused: what waits fails
open           doubted              doubtful: the question is asked
open           deaf                 renewing
doubtful       heard                open: what waits is sent
doubtful       unheard              renewing
renewing       subscribed, refused  doubtful: the question is asked again
=============  ===================  ======================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from automat import TypeMachineBuilder
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .backend import Document, ShadowError, Unavailable

#: A thing of which nothing was heard for so long is asked, in s.
SILENCE = 300.0
#: The third question and those after it wait: the first of these, doubled up to the second, in s.
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 20.0


class Unanswered(Unavailable):
    """The request went out and no answer came in time."""


class _Line(Protocol):
    """The machine's inputs."""

    def wanted(self) -> None:
        """A request waits."""

    def subscribed(self) -> None:
        """The subscriptions are made."""

    def refused(self) -> None:
        """They will not be made."""

    def heard(self) -> None:
        """A message came."""

    def doubted(self) -> None:
        """A request was not answered, or nothing came for long."""

    def unheard(self) -> None:
        """The question went out and was not answered."""

    def deaf(self) -> None:
        """The answers of one kind do not come though others do."""


class Line:
    """The way of the answers for one thing.

    ``subscribe`` makes all of its subscriptions (anew, where they are there), ``ask`` sends the question and fails
    with :class:`Unanswered` where nothing came. ``opened`` is called when requests may be sent, ``refused`` with the
    error when they cannot be, ``missed`` when what came meanwhile may not have been heard.
    """

    _log = Logger()

    def __init__(
        self,
        thing: str,
        clock: IReactorTime,
        subscribe: Callable[[], Deferred[None]],
        ask: Callable[[], Deferred[Document]],
        opened: Callable[[], None],
        refused: Callable[[ShadowError], None],
        missed: Callable[[], None],
    ) -> None:
        self.thing = thing
        self.open = False
        self._clock = clock
        self._make = subscribe
        self._question = ask
        self._tell_opened = opened
        self._tell_refused = refused
        self._tell_missed = missed
        self._error = ShadowError("")
        self._unanswered: set[str] = set()
        self._asked = 0
        self._doubt: object = None  #: the question that is out
        self._missed = self._closed = False
        self._silence: IDelayedCall | None = None
        self._next: IDelayedCall | None = None
        self._machine = _new_machine(self)

    def want(self) -> None:
        """A request waits to be sent."""
        self._machine.wanted()

    def heard(self, operation: str) -> None:
        """A message about this operation came."""
        self._unanswered.discard(operation)
        if self._silence is not None and self._silence.active():
            self._silence.reset(SILENCE)
        self._machine.heard()

    def timed_out(self, operation: str) -> None:
        """A request that went out was not answered."""
        if self.open and operation in self._unanswered:
            self._machine.deaf()
        elif self.open:
            self._unanswered.add(operation)
            self._machine.doubted()

    def again(self) -> None:
        """The transport has made all subscriptions again, and tells that itself: what is in doubt is asked now."""
        self._missed = False
        if self._next is not None and self._next.active():
            self._next.reset(0)

    def close(self) -> None:
        self._closed = True
        self.open = False
        self._ask_no_more()
        if self._silence is not None and self._silence.active():
            self._silence.cancel()

    def _subscribe(self) -> None:
        self.open = False
        self._make().addCallbacks(lambda _: self._subscribed(), self._not_subscribed).addErrback(self._failed)

    def _subscribed(self) -> None:
        if not self._closed:
            self._machine.subscribed()

    def _not_subscribed(self, failure: Failure) -> None:
        failure.trap(ShadowError)
        if not self._closed:
            assert isinstance(failure.value, ShadowError)
            self._error = failure.value
            self._machine.refused()

    def _renew(self) -> None:
        self._missed = True
        self._unanswered.clear()
        self._subscribe()

    def _ask(self) -> None:
        self.open = False
        pause = 0.0 if self._asked < 2 else min(FIRST_PAUSE * 2.0 ** (self._asked - 2), LONGEST_PAUSE)
        if self._asked == 2:
            self._log.warn(
                "Nothing is heard about the shadows of {thing}, though what is sent goes out; asking on.",
                thing=self.thing,
            )
        self._asked = min(self._asked + 1, 16)
        self._next = self._clock.callLater(pause, self._ask_now)

    def _ask_now(self) -> None:
        self._doubt = doubt = object()
        asked = self._question()
        asked.addCallbacks(lambda _: None, self._not_answered, errbackArgs=(doubt,)).addErrback(self._failed)

    def _not_answered(self, failure: Failure, doubt: object) -> None:
        failure.trap(ShadowError)
        if doubt is not self._doubt:  # it was heard of since, or is given up
            return
        if failure.check(Unanswered):
            self._machine.unheard()
        else:  # it did not even go out: that is the transport's to mend
            self._missed = True
            self._ask()

    def _ask_no_more(self) -> None:
        self._doubt = None
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _opened(self) -> None:
        self.open = True
        self._ask_no_more()
        if self._asked > 2:
            self._log.info("The shadows of {thing} are heard of again.", thing=self.thing)
        self._asked = 0
        self._silence = self._silence or self._clock.callLater(SILENCE, self._silent)
        missed, self._missed = self._missed, False
        self._tell_opened()
        if missed:
            self._tell_missed()

    def _silent(self) -> None:
        self._silence = self._clock.callLater(SILENCE, self._silent)
        if self.open:
            self._machine.doubted()

    def _close(self) -> None:
        self._tell_refused(self._error)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("the subscriptions of {thing}", failure=failure, thing=self.thing)


def _build() -> Callable[[Line], _Line]:
    builder = TypeMachineBuilder(_Line, Line)
    unused = builder.state("unused")
    subscribing = builder.state("subscribing")
    open_ = builder.state("open")
    doubtful = builder.state("doubtful")
    renewing = builder.state("renewing")

    def subscribe(machine: _Line, line: Line) -> None:
        line._subscribe()

    def close(machine: _Line, line: Line) -> None:
        line._close()

    def opened(machine: _Line, line: Line) -> None:
        line._opened()

    def ask(machine: _Line, line: Line) -> None:
        line._ask()

    def renew(machine: _Line, line: Line) -> None:
        line._renew()

    unused.upon(_Line.wanted).to(subscribing)(subscribe)
    subscribing.upon(_Line.subscribed).to(open_)(opened)
    subscribing.upon(_Line.refused).to(unused)(close)
    open_.upon(_Line.doubted).to(doubtful)(ask)
    open_.upon(_Line.deaf).to(renewing)(renew)
    doubtful.upon(_Line.heard).to(open_)(opened)
    doubtful.upon(_Line.unheard).to(renewing)(renew)
    renewing.upon(_Line.subscribed).to(doubtful)(ask)
    renewing.upon(_Line.refused).to(doubtful)(ask)
    for state, ignored in (
        (unused, (_Line.heard,)),
        (subscribing, (_Line.wanted, _Line.heard)),
        (open_, (_Line.wanted, _Line.heard)),
        (doubtful, (_Line.wanted,)),
        (renewing, (_Line.wanted, _Line.heard)),
    ):
        for each in ignored:
            state.upon(each).loop().returns(None)
    return builder.build()


_new_machine = _build()
