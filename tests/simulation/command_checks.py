"""What holds of commands whatever has happened to them: shared by the simulations of commands."""

from __future__ import annotations

from typing import Any

from tests.simulation.test_convergence import SIX
from tests.simulation.world import THING, World
from victron_twin.commands import chain
from victron_twin.commands.audit import listed
from victron_twin.commands.journal import Record
from victron_twin.twin.desires import Status
from victron_twin.twin.flat import flatten
from victron_twin.twin.holds import Hold

#: What ``reported.commands`` has of each desire.
KEYS = {"status", "value", "reason", "id", "at"}
#: The steps of the audit log.
STEPS = ("received", "refused", "written", "confirmed", "settled")


def results(made: World) -> dict[tuple[str, str], dict[str, Any]]:
    """What is told of each desire, by shadow and field."""
    return {(name, field): result for name in SIX for field, result in made.reported(name).get("commands", {}).items()}


def check_statuses(made: World) -> None:
    for where, result in results(made).items():
        assert result.keys() == KEYS, (where, result)
        Status(result["status"])


def check_settled(made: World, hollow: bool = False) -> None:
    """No delta stays, and nothing is pending. ``hollow``: but of empty objects, which Shadow Manager does not clear."""
    for name in SIX:
        state = made.shadow(name)["state"]
        left = hollow and not flatten(state.get("delta", {}))
        assert left or "delta" not in state, (name, state["delta"], state["reported"].get("commands"))
    pending = {where: result for where, result in results(made).items() if result["status"] == "pending"}
    assert not pending


def audited(made: World) -> list[dict[str, Any]]:
    """All steps of the audit log, oldest first."""
    lines = [line for path in listed(made.folder / "audit") for line in path.read_bytes().splitlines()]
    entries = [entry for entry in map(chain.read, lines) if entry is not None]
    return [entry for entry in entries if not chain.opens_file(entry)]


def check_audit(made: World) -> None:
    """Each line says something, and each write has one; a kill between the note and the message leaves one more."""
    steps = audited(made)
    for step in steps:
        assert step["result"], step
        assert step["step"] in STEPS
    assert sum(step["step"] == "written" for step in steps) >= len(made.gx.writes)


def kept(made: World) -> list[Hold]:
    """What is left to be done later, as it stands on the disk."""
    found: list[Record] = []
    made.process.core.commands.journal.record(THING).addCallback(found.append)
    return [hold for holds in found[0].holds.values() for hold in holds.values()]
