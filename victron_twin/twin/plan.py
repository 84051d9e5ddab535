"""What to do about a desired document: an ordered list of orders, verdicts without a write, holds that are over, and
leaves to clear.

Pure: the desired document, what was last settled and last acknowledged, the twin's state and the catalogue go in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from victron_twin.catalog.commands import Class, Command

from .aim import Target, is_raw, names, targets
from .desires import FURTHEST, SKEW, Ending, Known, Order, Plan, Status, Verdict, at, is_dated, is_new, moment
from .devices import Device, Live
from .endings import endings
from .flat import Path
from .holds import Hold, Keep
from .readings import Unreadable, fit, is_number
from .shadow import same
from .twin import Twin
from .writes import Unfit, Write, passed_on, raw_value, takes, writes

FORM = '{"value": ..., "id": "...", "expires": "<ISO 8601>"}'
GUARDED_FORM = '{"value": ..., "revertAfter": <s>}'


class _Refused(Exception):
    def __init__(self, reason: str, status: Status = Status.REJECTED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def plan(shadow: str, desired: Mapping[str, Any], known: Known) -> Plan:
    """What is new in a desired document, and what is over, decided."""

    def refuses_raw(service: str, path: str) -> str:
        return known.twin.catalog.commands.forbids(service, path) or known.policy.refuses_raw(service, path)

    aimed = list(targets(shadow, desired, known.twin, refuses_raw))
    over = list(endings(desired, {target.path: target.device for target in aimed}, known))
    told = {ending.path for ending in over if ending.verdict is not None}
    orders: list[Order] = []
    verdicts: list[Verdict] = []
    clear: list[Path] = []
    for target in aimed:
        if target.command is None:
            if target.reason:
                verdicts.append(Verdict(target.path, target.asked, Status.REJECTED, target.reason))
            clear.append(target.path)
        elif target.path not in told and _is_to_be_decided(target, known):
            decided = _decide(shadow, target, target.command, known)
            hold = known.holds.get(target.path)
            if isinstance(decided, Order):
                orders.append(decided)
            elif hold is not None and _ends(hold, decided):
                over.append(Ending(target.path, hold, hold.back, decided))
            else:
                verdicts.append(decided)
    gone = [p for p in known.pending if at(desired, p) is None and p not in told and p not in known.holds]
    verdicts.extend(Verdict(path, None, Status.REJECTED, "withdrawn") for path in gone)
    return Plan(tuple(orders), tuple(verdicts), tuple(clear), tuple(over))


def _ends(hold: Hold, verdict: Verdict) -> bool:
    """Whether a setpoint that was held is to be let go of, since it could not be taken any more."""
    final = verdict.status is not Status.PENDING
    return hold.keep is Keep.SETPOINT and not hold.ended and hold.is_asked(verdict.asked) and final


def _is_to_be_decided(target: Target, known: Known) -> bool:
    path, hold = target.path, known.holds.get(target.path)
    if is_new(path, target.asked, known.settled, known.reported) or path in known.pending or path in known.due:
        return True
    if hold is None or hold.keep is not Keep.ENFORCED or not _is_there(target.device, known):
        return False
    shown = target.live.shown if target.live is not None else None
    return shown is not None and not same(shown, hold.shown)


def _is_there(device: Device | None, known: Known) -> bool:
    return known.live and device is not None and device.connected


def _decide(shadow: str, target: Target, command: Command, known: Known) -> Order | Verdict:
    asked, hold = target.asked, known.holds.get(target.path)
    if hold is not None and hold.keep is Keep.GUARDED and hold.told and hold.id and hold.is_asked(asked):
        # An old document that came back confirms nothing.
        reason = f"as it was asked before: back to {hold.was} unless it is confirmed"
        return Verdict(target.path, asked, Status.APPLIED, reason, hold.id, hold)
    try:
        order = _order(shadow, target, command, known)
    except _Refused as refused:
        return Verdict(target.path, asked, refused.status, refused.reason, _id(asked))
    except Unfit as unfit:
        return Verdict(target.path, asked, Status.REJECTED, str(unfit), _id(asked))
    if order.writes:
        return order
    stays = order.hold if order.hold is not None and order.hold.keep is Keep.ENFORCED else None
    return Verdict(target.path, asked, Status.APPLIED, "it was so already", _id(asked), stays)


def _id(asked: Any) -> str:
    return str(asked["id"])[:64] if isinstance(asked, Mapping) and "id" in asked else ""


def _order(shadow: str, target: Target, command: Command, known: Known) -> Order:
    """The order for a new desire. Raises _Refused or Unfit; an order without writes is fulfilled already."""
    asked, until, revert, hold = target.asked, 0.0, 0.0, known.holds.get(target.path)
    if known.policy.off:
        raise _Refused(known.policy.off)
    if command.kind is Class.SETTING:
        asked, revert = _setting(target.asked)
    else:
        asked, until = _dated(target.asked, command.kind, hold, known)
    raw = _raw(asked, target, command, known.twin)
    try:
        shown = fit(raw, command.field, known.twin.catalog, bounded=False)
    except Unreadable:
        raise Unfit("no value of this field") from None
    device, live = target.device, target.live
    fields = {path: each.shown for path, each in device.fields.items()} if device is not None else {}
    known_as = names(shadow, target, known.twin)
    refusal = known.policy.refuses(known_as, shown, command, fields)
    if refusal:
        raise _Refused(refusal)
    if not known.live or (device is not None and not device.connected):
        raise _Refused("the GX is not there" if not known.live else f"{device} is not there", Status.PENDING)
    if device is None or live is None:
        raise _Refused("the device does not have it")
    _check_needs(command, device, known.twin)
    wanted = writes(raw, live, command, known.policy.bounds(known_as))
    key, identity = (device.service, device.instance), _id(target.asked)
    if command.kind is not Class.SETTING:
        if known.offset is None or abs(known.offset) > SKEW:
            raise _Refused("our clock and the GX's are apart", Status.PENDING)
        kept = None
        if command.setpoint is not None:
            safe, lapses = command.setpoint.safe, command.setpoint.lapses
            back = takes(safe, live, command) if safe is not None else ()
            kept = Hold(Keep.SETPOINT, target.asked, key, back=back, until=until, lapses=lapses, id=identity)
        return Order(target.path, target.asked, command.kind, wanted, target.asked, identity, until, kept)
    begun = hold is not None and hold.keep is Keep.GUARDED and not hold.told and hold.is_asked(target.asked)
    if not begun and (all(_has(known.twin, write) for write in wanted) or live.shown == shown):
        wanted = ()
    if any(known.spent(write) for write in wanted):
        raise _Refused(f"kept in flash: {known.policy.rate} writes a minute (commands.rate)", Status.PENDING)
    kept = None
    if revert and wanted:
        kept = hold if begun else _guard(target, live, key, known.now + revert, command, known)
    elif known.policy.enforces(known_as):
        kept = Hold(Keep.ENFORCED, shown, key, shown)
    return Order(target.path, target.asked, command.kind, wanted, shown, identity, hold=kept)


def _raw(asked: Any, target: Target, command: Command, twin: Twin) -> Any:
    if is_raw(command):
        return passed_on(asked, target.live.slots[0]) if target.live is not None else asked
    return raw_value(asked, command.field, twin.catalog)


def _guard(target: Target, live: Live, key: tuple[str, str], until: float, command: Command, known: Known) -> Hold:
    """The way back of a guarded setting: to what was before the first that is not confirmed. Raises Unfit."""
    hold = known.holds.get(target.path)
    if hold is not None and hold.keep is Keep.GUARDED and hold.device == key:
        back, was = hold.back, hold.was
    else:
        try:
            back, was = takes(_raw(live.shown, target, command, known.twin), live, command), live.shown
        except Unfit:
            raise Unfit("revertAfter: what it has now cannot be written back") from None
    return Hold(Keep.GUARDED, target.asked, key, back=back, until=until, was=was, id=_id(target.asked))


def _has(twin: Twin, write: Write) -> bool:
    device = twin.devices.get(write.key)
    slot = device.slots.get(write.path) if device is not None else None
    return slot is not None and slot.value is not None and bool(slot.value == write.raw)


def _check_needs(command: Command, device: Device, twin: Twin) -> None:
    for need in command.needs:
        holder: Device | None = device
        if need.source.service != device.service:
            holder = twin.devices.get((need.source.service, "0"))
        slot = holder.slots.get(need.source.path) if holder is not None else None
        value = slot.value if slot is not None else None
        if value is None or value != need.value:
            said = "is not known" if value is None else f"is {value}"
            raise _Refused(f"the GX does not take it: {need.source.path} {said}, it must be {need.value}")


def _setting(asked: Any) -> tuple[Any, float]:
    """The value of a setting, and after which time it goes back unless it is confirmed (0: never), in s."""
    if isinstance(asked, Mapping) and {"value", "revertAfter"} <= asked.keys() <= {"value", "revertAfter", "id"}:
        after = asked["revertAfter"]
        if not is_number(after) or not 0 <= after <= FURTHEST:
            raise _Refused("revertAfter must be a time in s, up to 86400; 0 confirms")
        return asked["value"], float(after)
    if isinstance(asked, Mapping | list) or asked is None:
        raise _Refused(f"a setting is a plain value, or {GUARDED_FORM}")
    return asked, 0.0


def _dated(asked: Any, kind: Class, hold: Hold | None, known: Known) -> tuple[Any, float]:
    """The value and the expiry of an action's or a setpoint's object. Raises _Refused."""
    if not is_dated(asked):
        what = "an action" if kind is Class.ACTION else "a setpoint"
        raise _Refused(f"{what} is asked for as {FORM}")
    identity, until = asked["id"], asked["expires"]
    if not isinstance(identity, str) or not 0 < len(identity) <= 64:
        raise _Refused("id must be a text of 1 to 64 characters")
    expires = moment(until)
    if expires is None:
        raise _Refused("expires must be a time as 2024-01-15T14:30:00Z")
    held = hold is not None and hold.keep is Keep.SETPOINT and hold.is_asked(asked)
    if identity in known.ids and not held:
        before, done = known.ids[identity]
        if not same(before, asked):
            raise _Refused("this id was used before: each counts once")
        if kind is Class.SETPOINT:
            raise _Refused("it was let go of before: a setpoint is taken once for each id", Status.EXPIRED)
        if done:
            raise _Refused("nothing confirms it", Status.SENT)
        raise _Refused("the service was restarted while it was being done", Status.UNCONFIRMED)
    if expires <= known.now:
        raise _Refused("it has expired", Status.EXPIRED)
    if expires > known.now + FURTHEST:
        raise _Refused("expires is more than 24 h ahead")
    return asked["value"], expires
