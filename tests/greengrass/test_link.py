"""The machine of the link: what each input brings about in each state."""

from __future__ import annotations

import pytest

from victron_twin.greengrass.link import Effects, new_link


class Bench:
    def __init__(self) -> None:
        self.done: list[str] = []
        note = self.done.append
        self.effects = Effects(
            dial=lambda: note("dial"),
            attach=lambda: note("attach"),
            detach=lambda: note("detach"),
            wait=lambda: note("wait"),
            hang_up=lambda: note("hang up"),
        )
        self.link = new_link(self.effects)

    def feed(self, *inputs: str) -> list[str]:
        self.done.clear()
        for each in inputs:
            getattr(self.link, each)()
        return list(self.done)


@pytest.mark.parametrize(
    ("inputs", "effects", "state"),
    [
        (["start"], ["dial"], "dialling"),
        (["start", "ended"], ["dial", "wait"], "waiting"),
        (["start", "ended", "due"], ["dial", "wait", "dial"], "dialling"),
        (["start", "acknowledged"], ["dial", "attach"], "connected"),
        (["start", "acknowledged", "ended"], ["dial", "attach", "detach", "wait"], "waiting"),
        (["start", "stop"], ["dial", "hang up"], "stopped"),
        (["start", "ended", "stop"], ["dial", "wait", "hang up"], "stopped"),
        (["start", "acknowledged", "stop"], ["dial", "attach", "detach", "hang up"], "stopped"),
        (["start", "stop", "stop", "start"], ["dial", "hang up", "dial"], "dialling"),
    ],
)
def test_the_table(inputs: list[str], effects: list[str], state: str) -> None:
    bench = Bench()
    assert bench.feed(*inputs) == effects
    assert bench.effects.state == state
