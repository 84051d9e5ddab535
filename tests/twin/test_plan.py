"""What to do about a desired document, decided without a clock, a link or a store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import CATALOG
from tests.twin.test_twin import Bench
from victron_twin.twin.desires import Known, Plan, Status, moment, shorten
from victron_twin.twin.desk import LIMIT, Desk
from victron_twin.twin.flat import Flat, flatten, nest, overlaid
from victron_twin.twin.plan import plan
from victron_twin.twin.policy import Limit, Policy, names_of
from victron_twin.twin.sheet import Sheet
from victron_twin.twin.twin import iso
from victron_twin.twin.writes import Write


def known(bench: Bench, **more: Any) -> Known:
    base = Known(
        twin=bench.twin,
        policy=Policy("all"),
        settled={},
        reported=bench.shadow("victron-vebus"),
        ids={},
        pending=(),
        live=True,
        offset=0.0,
        now=bench.now,
    )
    return replace(base, **more)


@pytest.fixture
def bench() -> Bench:
    made = Bench(CATALOG)
    for path, value in {
        "Mode": 3,
        "ModeIsAdjustable": 1,
        "Ac/In/1/CurrentLimit": 16.0,
        "Ac/In/1/CurrentLimitIsAdjustable": 1,
        "RedetectSystem": 0,
    }.items():
        made.hear(f"vebus/276/{path}", value)
    made.twin.settle()
    made.shadow("victron-vebus")
    return made


def decide(bench: Bench, desired: dict[str, Any], **more: Any) -> Plan:
    return plan("victron-vebus", desired, known(bench, **more))


def test_a_text_and_a_code_become_the_same_write(bench: Bench) -> None:
    for asked in ("Charger Only", 1, 1.0):
        (order,) = decide(bench, {"mode": asked}).orders
        assert order.writes == (Write(("vebus", "276"), "/Mode", 1),)
        assert type(order.writes[0].raw) is int
        assert order.target == "Charger Only"


def test_the_type_of_the_path_is_sent(bench: Bench) -> None:
    (order,) = decide(bench, {"currentLimit": 10}).orders
    assert order.writes[0].raw == 10.0
    assert type(order.writes[0].raw) is float


def test_the_gx_own_bounds_count_over_the_catalogues(bench: Bench) -> None:
    bench.raw("vebus/276/Ac/In/1/CurrentLimit", b'{"value":16.0,"min":5.0,"max":20.0}')
    bench.shadow("victron-vebus")
    (verdict,) = decide(bench, {"currentLimit": 25}).verdicts
    assert verdict.reason == "must be from 5 to 20 A (the GX's range)"
    bench.raw("vebus/276/Ac/In/1/CurrentLimit", b'{"value":16.5,"min":null,"max":null}')
    bench.shadow("victron-vebus")
    (verdict,) = decide(bench, {"currentLimit": 250}).verdicts
    assert verdict.reason == "must be from 0 to 100 A (the catalogue's range)"


def test_what_was_settled_is_not_new_whatever_is_reported(bench: Bench) -> None:
    settled = {("mode",): ("Charger Only",)}
    assert decide(bench, {"mode": "Charger Only"}, settled=settled) == Plan((), (), ())
    assert decide(bench, {"mode": "On"}, settled=settled).verdicts[0].status is Status.APPLIED


def test_without_a_record_what_is_stored_as_reported_is_not_new(bench: Bench) -> None:
    assert decide(bench, {"mode": "On"}) == Plan((), (), ())


@pytest.mark.parametrize("missing", ["ModeIsAdjustable"])
def test_a_precondition_that_is_not_known_is_not_met(bench: Bench, missing: str) -> None:
    bench.hear(f"vebus/276/{missing}", None)
    (verdict,) = decide(bench, {"mode": "Off"}).verdicts
    assert (verdict.status, missing in verdict.reason) == (Status.REJECTED, True)


def test_a_device_that_is_away_makes_a_desire_wait(bench: Bench) -> None:
    assert decide(bench, {"mode": "Off"}, live=False).verdicts[0].status is Status.PENDING
    bench.raw("vebus/276/Mode", b"")
    assert decide(bench, {"mode": "Off"}).verdicts[0].status is Status.PENDING
    assert decide(bench, {"mode": 99}, live=False).verdicts[0].status is Status.REJECTED


def asked(bench: Bench, seconds: float = 60, **more: Any) -> dict[str, Any]:
    return {"redetectSystem": {"value": 1, "id": "a", "expires": iso(bench.now + seconds), **more}}


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"id": 7}, Status.REJECTED),
        ({"id": ""}, Status.REJECTED),
        ({"expires": "tomorrow"}, Status.REJECTED),
        ({"expires": "2030-01-01T00:00:00"}, Status.REJECTED),
        ({"value": 5}, Status.REJECTED),
    ],
)
def test_an_action_needs_its_form(bench: Bench, more: dict[str, Any], status: Status) -> None:
    decided = decide(bench, asked(bench, **more))
    assert not decided.orders
    assert decided.verdicts[0].status is status


def test_an_id_that_was_used_is_not_run_again_whatever_comes_with_it(bench: Bench) -> None:
    desired = asked(bench)
    other = asked(bench, 90)["redetectSystem"]
    statuses = [
        decide(bench, desired, ids={"a": (before, done)}).verdicts[0].status
        for before, done in ((other, True), (desired["redetectSystem"], False), (desired["redetectSystem"], True))
    ]
    assert statuses == [Status.REJECTED, Status.UNCONFIRMED, Status.SENT]


def test_actions_wait_while_the_clocks_are_apart_or_the_gx_is_unknown(bench: Bench) -> None:
    for offset in (None, 61.0, -61.0):
        assert decide(bench, asked(bench), offset=offset).verdicts[0].status is Status.PENDING
    assert len(decide(bench, asked(bench), offset=59.0).orders) == 1


def test_a_pending_desire_that_was_withdrawn_is_told(bench: Bench) -> None:
    (verdict,) = decide(bench, {}, pending=[("mode",)]).verdicts
    assert (verdict.status, verdict.reason) == (Status.REJECTED, "withdrawn")


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["value", "id", "mode"]), inner),
    max_leaves=6,
)
keys = st.sampled_from(["mode", "currentLimit", "redetectSystem", "state", "devices", "276", "input1", "x"])


@given(st.dictionaries(keys, st.dictionaries(keys, json_values, max_size=2) | json_values, max_size=4))
def test_whatever_is_desired_nothing_unsafe_comes_of_it(desired: dict[str, Any]) -> None:
    bench = Bench(CATALOG)
    bench.hear("vebus/276/Mode", 3)
    bench.hear("vebus/276/ModeIsAdjustable", 1)
    bench.hear("vebus/276/Ac/In/1/CurrentLimit", 16.0)
    bench.hear("vebus/276/Ac/In/1/CurrentLimitIsAdjustable", 1)
    bench.twin.settle()
    bench.shadow("victron-vebus")
    decided = plan("victron-vebus", desired, known(bench))
    for order in decided.orders:
        for write in order.writes:
            assert write.key == ("vebus", "276")
            if write.path == "/Mode":
                assert type(write.raw) is int
                assert write.raw in (1, 2, 3, 4, 251)
            else:
                assert write.path == "/Ac/In/1/CurrentLimit"
                assert 0 <= write.raw <= 100
    for verdict in decided.verdicts:
        assert verdict.reason
    cleared = overlaid(desired, dict.fromkeys(decided.clear))
    assert all(path not in flatten(cleared) for path in decided.clear)


@pytest.mark.parametrize(
    ("policy", "value", "refused"),
    [
        (Policy(), "Off", True),
        (Policy(), "Charger Only", True),
        (Policy(), "On", False),
        (Policy(allow=("victron-vebus.mode=Off",)), "Off", False),
        (Policy(allow=("victron-vebus.*",)), "Off", False),
        (Policy("all"), "Off", False),
        (Policy("all", deny=("victron-vebus.mode=Off",)), "Off", True),
        (Policy("all", deny=("victron-vebus.mode",)), "On", True),
        (Policy("off", allow=("*",)), "On", True),
    ],
)
def test_the_policy(policy: Policy, value: str, refused: bool) -> None:
    command = CATALOG.commands.of("victron-vebus", "mode")
    assert command is not None
    assert bool(policy.refuses(names_of("victron-vebus", ("mode",)), value, command, {})) is refused


def test_charger_only_is_allowed_while_an_input_is_active() -> None:
    command = CATALOG.commands.of("victron-vebus", "mode")
    assert command is not None
    shown: Flat = {("acIn", "active"): "AC input 1"}
    assert not Policy().refuses(names_of("victron-vebus", ("mode",)), "Charger Only", command, shown)
    shown = {("acIn", "active"): "None (inverting)"}
    assert Policy().refuses(names_of("victron-vebus", ("mode",)), "Charger Only", command, shown)


def test_what_no_default_allows_is_refused_whatever_its_value() -> None:
    reboot = CATALOG.commands.of("victron-system", "gx.reboot")
    profile = CATALOG.commands.of("victron-settings", "canbus.can0.profile")
    assert reboot is not None
    assert profile is not None
    assert "victron-system.gx.reboot=Reboot" in Policy().refuses(
        names_of("victron-system", ("gx", "reboot")), "Reboot", reboot, {}
    )
    for value in CATALOG.enum("canbus_profile").values():
        path = ("canbus", "can0", "profile")
        assert Policy().refuses(names_of("victron-settings", path), value, profile, {})
        assert not Policy(allow=("victron-settings.canbus.*",)).refuses(
            names_of("victron-settings", path), value, profile, {}
        )


@pytest.mark.parametrize(("value", "refused"), [(True, True), (False, False)])
def test_a_boolean_is_guarded_and_allowed_as_json_writes_it(value: bool, refused: bool) -> None:
    command = CATALOG.commands.of("victron-vebus", "input1.ignore")
    assert command is not None
    path = ("input1", "ignore")
    assert bool(Policy().refuses(names_of("victron-vebus", path), value, command, {})) is refused
    assert not Policy(allow=("victron-vebus.input1.ignore=true",)).refuses(
        names_of("victron-vebus", path), value, command, {}
    )


def test_a_number_without_known_bounds_is_not_written_unless_the_gx_gives_them(bench: Bench) -> None:
    """Whatever the owner allows: how far an output voltage can be set is not known here."""
    bench.hear("vebus/276/Settings/InverterOutputVoltage", 230.0)
    bench.shadow("victron-vebus")
    desired = {"settings": {"inverterOutputVoltage": 235}}
    (verdict,) = decide(bench, desired).verdicts
    assert verdict.status is Status.REJECTED
    assert "has no bounds" in verdict.reason
    bench.raw("vebus/276/Settings/InverterOutputVoltage", b'{"value":230.5,"min":210.0,"max":245.0}')
    bench.shadow("victron-vebus")
    (order,) = decide(bench, desired).orders
    assert order.writes == (Write(("vebus", "276"), "/Settings/InverterOutputVoltage", 235.0),)


def test_a_setpoint_is_not_written_as_if_it_were_a_setting(bench: Bench) -> None:
    bench.hear("settings/0/Settings/CGwacs/Hub4Mode", 3)
    bench.hear("vebus/276/Hub4/L1/AcPowerSetpoint", 0)
    assert "setpoints" not in bench.shadow("victron-vebus")
    (verdict,) = decide(bench, {"setpoints": {"l1": {"acPower": -500}}}).verdicts
    assert verdict.status is Status.REJECTED


@pytest.mark.parametrize(("there", "sent"), [("/UTC", "/Europe/Madrid"), ("UTC", "Europe/Madrid")])
def test_a_time_zone_keeps_the_slash_that_the_gx_has(there: str, sent: str) -> None:
    bench = Bench(CATALOG)
    bench.hear("settings/0/Settings/System/TimeZone", there)
    bench.twin.settle()
    shown = bench.shadow("victron-settings")
    (order,) = plan("victron-settings", {"timezone": "Europe/Madrid"}, known(bench, reported=shown)).orders
    assert order.writes == (Write(("settings", "0"), "/Settings/System/TimeZone", sent),)
    assert order.target == "Europe/Madrid"


def test_what_was_asked_is_shortened() -> None:
    assert shorten(12.5) == 12.5
    assert len(shorten({"value": "x" * 200})) == 80


def test_a_time_has_a_zone() -> None:
    assert moment("2024-01-15T14:30:00Z") == moment("2024-01-15T15:30:00+01:00") == 1705329000
    assert moment("2024-01-15T14:30:00") is None
    assert moment(12) is None


def test_the_statuses_stay_within_their_size_the_oldest_out_first() -> None:
    desk = Desk()
    for number in range(30):
        desk.tell((f"field{number}",), Status.APPLIED, "x" * 50, "why", "", 1e9 + number)
    commands = nest(desk.over(Sheet()).values)["commands"]
    assert "field29" in commands
    assert "field0" not in commands
    assert len(str(commands)) < LIMIT * 1.2


def test_statuses_older_than_a_day_go_together_once_a_day() -> None:
    desk = Desk()
    desk.sweep(1e9)
    for number in range(3):
        desk.tell((f"f{number}",), Status.APPLIED, 1, "", "", 1e9 + number * 3600)
    desk.sweep(1e9 + 86_000)
    assert len(nest(desk.over(Sheet()).values)["commands"]) == 3
    desk.sweep(1e9 + 86_400 + 5_000)
    assert set(nest(desk.over(Sheet()).values)["commands"]) == {"f2"}


def limited(*texts: str) -> Policy:
    return Policy("all", limits=tuple(map(Limit.read, texts)))


@pytest.mark.parametrize(
    ("limit", "asked", "reason"),
    [
        ("victron-vebus.currentLimit=..10", 10, ""),
        ("victron-vebus.currentLimit=..10", 11, "from 0 to 10 A (commands.limits: victron-vebus.currentLimit=..10)"),
        ("victron-vebus.currentLimit=..10", -1, "from 0 to 10 A (the catalogue's range)"),
        ("victron-vebus.currentLimit=6..10", 5, "commands.limits"),
        ("victron-vebus.*=..10", 11, "commands.limits"),
        ("victron-vebus.devices.276.currentLimit=..10", 11, "commands.limits"),
        ("victron-vebus.devices.277.currentLimit=..10", 11, ""),
        ("victron-vebus.input1.currentLimit=..10", 11, "commands.limits"),  # another name of the same path
        ("victron-vebus.currentLimit=..200", 101, "from 0 to 100 A (the catalogue's range)"),
    ],
)
def test_a_limit_is_narrower_than_any_other_bound(bench: Bench, limit: str, asked: float, reason: str) -> None:
    decided = decide(bench, {"currentLimit": asked}, policy=limited(limit))
    assert len(decided.orders) == (not reason)
    assert all(reason in verdict.reason for verdict in decided.verdicts)


def test_the_narrowest_of_several_limits_counts(bench: Bench) -> None:
    policy = limited("victron-vebus.*=..20", "victron-vebus.input1.*=..8", "victron-*=3..")
    for asked, refused in ((9, True), (8, False), (3, False), (2, True)):
        decided = decide(bench, {"input1": {"currentLimit": asked}}, policy=policy)
        assert bool(decided.verdicts) is refused


def test_a_limit_bounds_a_point_that_has_no_bound_and_allows_nothing(bench: Bench) -> None:
    bench.hear("vebus/276/Settings/InverterOutputVoltage", 230.0)
    bench.shadow("victron-vebus")
    desired = {"settings": {"inverterOutputVoltage": 235}}
    name = "victron-vebus.settings.inverterOutputVoltage"
    (verdict,) = decide(bench, desired, policy=limited(f"{name}=..240")).verdicts
    assert "no lower bound" in verdict.reason
    assert len(decide(bench, desired, policy=limited(f"{name}=220..240")).orders) == 1
    only = replace(limited(f"{name}=220..240"), mode="allow-list")
    assert "allow-list" in decide(bench, desired, policy=only).verdicts[0].reason


def test_a_rule_for_one_name_of_a_path_counts_for_the_others(bench: Bench) -> None:
    policy = Policy("all", deny=("victron-vebus.input1.currentLimit",))
    (verdict,) = decide(bench, {"currentLimit": 10}, policy=policy).verdicts
    assert verdict.reason == "commands.deny forbids it: victron-vebus.input1.currentLimit"


@pytest.mark.parametrize(
    "text",
    ["", "x", "=1..2", "victron-vebus.a", "victron-vebus.a=", "a.b=..", "a.b=2..1", "a.b=x..", "a.b=..nan", "a=1"],
)
def test_a_limit_that_says_nothing_is_no_limit(text: str) -> None:
    with pytest.raises(ValueError, match=r"FIELD=LEAST..MOST|allows nothing|is no number|name a field"):
        Limit.read(text)


def test_what_is_kept_in_flash_waits_when_it_was_written_too_often(bench: Bench) -> None:
    (verdict,) = decide(bench, {"currentLimit": 10}, spent=lambda write: True).verdicts
    assert verdict.status is Status.PENDING
    assert "commands.rate" in verdict.reason


def test_the_emergency_off_is_the_reason_of_everything(bench: Bench) -> None:
    bench.hear("vebus/276/Hub4/L1/AcPowerSetpoint", 0)
    bench.shadow("victron-vebus")
    desired = {"mode": 99, "currentLimit": 10, **asked(bench), "setpoints": {"l1": {"acPower": 1}}}
    decided = decide(bench, desired, policy=Policy("all", stopped=True))
    assert not decided.orders
    assert {verdict.reason for verdict in decided.verdicts} == {"commands are off (by hand)"}
    assert len(decided.verdicts) == 4


@pytest.mark.parametrize("shadow", CATALOG.shadows)
@pytest.mark.parametrize(
    "desired", [{"x": 1}, {"": 1}, {"devices": 1}, {"devices": {"a": 1}}, {"devices": {"a-1": {"x": 1}}}, {"raw": 1}]
)
def test_what_addresses_no_field_is_rejected_in_every_shadow(
    bench: Bench, shadow: str, desired: dict[str, Any]
) -> None:
    decided = plan(shadow, desired, known(bench))
    (verdict,) = decided.verdicts
    assert (verdict.status, decided.clear) == (Status.REJECTED, (verdict.path,))
    assert "is no field" in verdict.reason
