"""Is there a link to the nucleus? One machine, with what each change brings about.

==========  =================  ===================  ==========================  ==============  ==================
state       start              acknowledged         ended                       due             stop
==========  =================  ===================  ==========================  ==============  ==================
stopped     dialling: dial
dialling                       connected: attach    waiting: wait                               stopped: hang up
connected                                           waiting: detach, wait                       stopped: detach,
                                                                                                hang up
waiting                                                                         dialling: dial  stopped: hang up
==========  =================  ===================  ==========================  ==============  ==================

``ended`` is whatever ends an attempt or a connection: the socket is not there, the nucleus closed it, did not
acknowledge it in time, or has stalled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from automat import TypeMachineBuilder


class Link(Protocol):
    """The machine's inputs."""

    def start(self) -> None:
        """Be connected from now on."""

    def acknowledged(self) -> None:
        """The nucleus accepted the token."""

    def ended(self) -> None:
        """The attempt failed, or the connection is over."""

    def due(self) -> None:
        """The wait is over."""

    def stop(self) -> None:
        """Be not connected from now on."""


@dataclass(slots=True)
class Effects:
    """What the machine brings about, and the state it tells."""

    dial: Callable[[], None]
    attach: Callable[[], None]  #: calls can be made
    detach: Callable[[], None]  #: they cannot any more
    wait: Callable[[], None]
    hang_up: Callable[[], None]  #: end whatever was begun
    state: str = "stopped"


def _build() -> Callable[[Effects], Link]:
    builder = TypeMachineBuilder(Link, Effects)
    stopped = builder.state("stopped")
    dialling = builder.state("dialling")
    connected = builder.state("connected")
    waiting = builder.state("waiting")

    def dial(link: Link, effects: Effects) -> None:
        effects.state = "dialling"
        effects.dial()

    def attach(link: Link, effects: Effects) -> None:
        effects.state = "connected"
        effects.attach()

    def wait(link: Link, effects: Effects) -> None:
        effects.state = "waiting"
        effects.wait()

    def detach_and_wait(link: Link, effects: Effects) -> None:
        effects.state = "waiting"
        effects.detach()
        effects.wait()

    def hang_up(link: Link, effects: Effects) -> None:
        effects.state = "stopped"
        effects.hang_up()

    def detach_and_hang_up(link: Link, effects: Effects) -> None:
        effects.state = "stopped"
        effects.detach()
        effects.hang_up()

    stopped.upon(Link.start).to(dialling)(dial)
    dialling.upon(Link.acknowledged).to(connected)(attach)
    dialling.upon(Link.ended).to(waiting)(wait)
    dialling.upon(Link.stop).to(stopped)(hang_up)
    connected.upon(Link.ended).to(waiting)(detach_and_wait)
    connected.upon(Link.stop).to(stopped)(detach_and_hang_up)
    waiting.upon(Link.due).to(dialling)(dial)
    waiting.upon(Link.stop).to(stopped)(hang_up)
    stopped.upon(Link.stop).loop().returns(None)
    return builder.build()


new_link = _build()
