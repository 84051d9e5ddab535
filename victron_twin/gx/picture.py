"""How much of a GX is known: nothing yet, filling, live, or silent. Drawn in docs/architecture.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from automat import TypeMachineBuilder


class Picture(Protocol):
    """The machine's inputs."""

    def connected(self) -> None:
        """A session was accepted."""

    def heard(self) -> None:
        """A heartbeat or a value came."""

    def trusted(self) -> None:
        """Full publishes were complete: what did not come is not there."""

    def silence(self) -> None:
        """Neither heartbeat nor value for long."""

    def lost(self) -> None:
        """The session has ended."""


@dataclass(slots=True)
class Effects:
    """What the machine brings about, and the state it tells."""

    ask: Callable[[], None]  #: ask the GX for everything
    go_dark: Callable[[], None]  #: nothing is live any more
    state: str = "unknown"


def _build() -> Callable[[Effects], Picture]:
    builder = TypeMachineBuilder(Picture, Effects)
    unknown = builder.state("unknown")
    filling = builder.state("filling")
    live = builder.state("live")
    silent = builder.state("silent")

    def ask(picture: Picture, effects: Effects) -> None:
        effects.state = "filling"
        effects.ask()

    def go_dark(picture: Picture, effects: Effects) -> None:
        effects.state = "silent"
        effects.go_dark()

    def go_dark_unconnected(picture: Picture, effects: Effects) -> None:
        effects.go_dark()

    def is_live(picture: Picture, effects: Effects) -> None:
        effects.state = "live"

    def is_unknown(picture: Picture, effects: Effects) -> None:
        effects.state = "unknown"

    unknown.upon(Picture.connected).to(filling)(ask)
    unknown.upon(Picture.silence).to(unknown)(go_dark_unconnected)
    filling.upon(Picture.trusted).to(live)(is_live)
    silent.upon(Picture.heard).to(filling)(ask)
    for state in (filling, live):
        state.upon(Picture.silence).to(silent)(go_dark)
    for state in (filling, live, silent):
        state.upon(Picture.lost).to(unknown)(is_unknown)
    for state, ignored in (
        (unknown, (Picture.heard, Picture.trusted, Picture.lost)),
        (filling, (Picture.heard, Picture.connected)),
        (live, (Picture.heard, Picture.trusted, Picture.connected)),
        (silent, (Picture.silence, Picture.trusted, Picture.connected)),
    ):
        for each in ignored:
            state.upon(each).loop().returns(None)
    return builder.build()


new_picture = _build()
