"""The audit log at a topic: all of it, in order, verifiable, whatever becomes of link, process and files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from tests.commands.test_audit import LARGE, lines_of, put, written
from tests.commands.test_journal import now
from tests.conftest import ExpectErrors
from tests.simulation.world import CloudWorld, running
from victron_twin.commands.audit import Kept, listed
from victron_twin.commands.chain import encode, read
from victron_twin.commands.journal import PUBLISHED, Journal, Step
from victron_twin.commands.publisher import GATHER, LARGEST, LONGEST_WAIT, PATIENCE, Publisher
from victron_twin.commands.tail import Tail
from victron_twin.shadows.backend import Messenger, ShadowError, Throttled, TooLarge, Unauthorized, Unavailable
from victron_twin.worker import InlineWorker

STEP = Step("2026-07-01T12:00:00Z", "van", "victron-vebus", "mode", "On", "Off", "received", "new", "", "", 7)
TOPIC = "fleet/audit"


class Receiver:
    """What is behind the topics. ``error``: what each message fails with; ``silent``: none is acknowledged."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.attempts: list[float] = []
        self.error: ShadowError | None = None
        self.silent = False
        self.largest = 128 * 1024
        self.under_way: list[Deferred[None]] = []
        self.clock = Clock()

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        self.attempts.append(self.clock.seconds())
        assert all(each.called for each in self.under_way), "two messages are under way"
        if self.error is not None:
            return fail(self.error)
        if len(payload) > self.largest:
            return fail(TooLarge(f"the message has {len(payload)} bytes"))
        self.messages.append((topic, payload))
        if not self.silent:
            return succeed(None)
        self.under_way.append(Deferred())
        return self.under_way[-1]

    def lines(self, topic: str = TOPIC) -> list[dict[str, Any]]:
        return [line for name, payload in self.messages if name == topic for line in json.loads(payload)["lines"]]

    def numbers(self) -> list[int]:
        return [line["line"] for line in self.lines()]


def conforms(receiver: Receiver) -> Messenger:
    """Checked by mypy: the class has the interface's form."""
    return receiver


class Process:
    """One run of journal and publisher in a folder."""

    def __init__(self, folder: Path, receiver: Receiver, topic: str = TOPIC, kept: Kept = LARGE) -> None:
        self.clock = receiver.clock
        self.journal = Journal(folder / "commands.sqlite", InlineWorker(), kept)
        self.publisher = Publisher(self.clock, self.journal, receiver, topic, "van")
        self.publisher.startService()
        assert now(self.journal.open()) is None

    def note(self, count: int = 1, **changes: Any) -> None:
        for _ in range(count):
            assert now(self.journal.note(replace(STEP, **changes))) is None

    def run(self, seconds: float) -> None:
        """From one thing that happens to the next."""
        end = self.clock.seconds() + seconds
        while self.clock.calls and self.clock.calls[0].getTime() <= end:
            self.clock.advance(max(0.0, self.clock.calls[0].getTime() - self.clock.seconds()))
        self.clock.advance(max(0.0, end - self.clock.seconds()))

    def kill(self) -> None:
        """Nothing is said, nothing is written."""
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.journal._close()

    def stop(self) -> None:
        self.publisher.stopService()
        now(self.journal.close())
        assert not self.clock.getDelayedCalls()


Start = Callable[..., Process]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def start(tmp_path: Path, receiver: Receiver) -> Start:
    return lambda **options: Process(tmp_path, receiver, **options)


@contextmanager
def logged() -> Iterator[list[str]]:
    said: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_namespace"].startswith("victron_twin."):
            said.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield said
    finally:
        globalLogPublisher.removeObserver(observe)


def stored(folder: Path) -> list[bytes]:
    return [line for path in listed(folder / "audit") for line in lines_of(path)]


def test_steps_that_come_within_seconds_are_one_message_that_can_be_verified(
    tmp_path: Path, start: Start, receiver: Receiver
) -> None:
    process = start()
    process.note(2, new={"value": 12.5, "text": "Grüße 😀"})
    process.run(GATHER - 0.1)
    assert not receiver.messages
    process.note()
    process.run(GATHER)
    ((topic, payload),) = receiver.messages
    assert (topic, json.loads(payload)["thing"]) == (TOPIC, "van")
    assert payload == b'{"lines":[%s],"thing":"van"}' % b",".join(stored(tmp_path))
    before = "0" * 64
    for line in receiver.lines():
        assert read(encode(line)) is not None
        assert line["previous"] == before
        before = line["hash"]
    process.run(3600)
    assert len(receiver.messages) == 1
    process.stop()


def test_what_comes_later_is_another_message(start: Start, receiver: Receiver) -> None:
    process = start()
    for _ in range(3):
        process.note()
        process.run(60)
    assert receiver.numbers() == [1, 2, 3, 4]
    assert len(receiver.messages) == 3


def test_no_message_is_larger_than_what_counts_as_one(start: Start, receiver: Receiver) -> None:
    process = start()
    process.note(100)
    process.run(GATHER)
    sizes = [len(payload) for _, payload in receiver.messages]
    assert receiver.numbers() == list(range(1, 102))
    assert max(sizes) <= LARGEST
    assert min(sizes[:-1]) > LARGEST - 500


def test_a_line_that_is_larger_goes_alone(start: Start, receiver: Receiver) -> None:
    process = start()
    process.note()
    process.note(new="x" * 2 * LARGEST)
    process.note()
    process.run(GATHER)
    assert [len(json.loads(payload)["lines"]) for _, payload in receiver.messages] == [2, 1, 1]


def test_a_line_that_nothing_carries_is_left_out_and_said(start: Start, receiver: Receiver) -> None:
    receiver.largest = 7_000
    process = start()
    process.note(new="x" * 2 * LARGEST)
    process.note()
    with logged() as said:
        process.run(GATHER)
    assert receiver.numbers() == [1, 3]
    assert [text for text in said if "Line 2 of the audit log is not published: the message has" in text] == said


def test_when_it_is_first_configured_the_past_stays_where_it_is(
    tmp_path: Path, start: Start, receiver: Receiver
) -> None:
    written(tmp_path / "audit", 20)
    process = start()
    process.run(60)
    assert not receiver.messages
    process.note()
    process.kill()  # before it could be sent
    process = start()
    process.run(GATHER)
    assert receiver.numbers() == [22]


def test_offline_for_long(start: Start, receiver: Receiver) -> None:
    process = start()
    receiver.error = Unavailable("not connected")
    with logged() as said:
        for _ in range(100):
            process.note()
            process.run(600)
        receiver.error = None
        process.run(LONGEST_WAIT)
    assert receiver.numbers() == list(range(1, 102))
    waits = [b - a for a, b in zip(receiver.attempts, receiver.attempts[1:], strict=False)]
    assert waits[:6] == [5, 10, 20, 40, LONGEST_WAIT, LONGEST_WAIT]
    assert said == [
        "The audit log cannot be published now: not connected; trying on.",
        "The audit log is published again",
    ]
    process.note()
    process.run(GATHER)
    assert receiver.numbers()[-1] == 102


def test_each_kind_of_failure_is_told_once_and_tried_on(start: Start, receiver: Receiver) -> None:
    process = start()
    process.note()
    with logged() as said:
        for error in Throttled("Too many requests"), Unauthorized("the policy"), Unavailable("gone"):
            for _ in range(5):
                receiver.error = error
                process.run(LONGEST_WAIT)
        receiver.error = None
        process.run(LONGEST_WAIT)
    assert [text.rpartition(": ")[2] for text in said[:-1]] == [
        "Too many requests; trying on.",
        "the policy; trying on.",
        "gone; trying on.",
    ]
    assert receiver.numbers() == [1, 2]


def test_an_error_that_is_none_of_the_backends_ends_nothing(
    start: Start, receiver: Receiver, logged_errors: ExpectErrors
) -> None:
    logged_errors("the audit log could not be published")
    process = start()
    process.note()
    receiver.error = RuntimeError("a mistake")  # type: ignore[assignment]  # it breaks its promise
    with logged() as said:
        process.run(600)
    assert len(said) == 1
    receiver.error = None
    process.run(LONGEST_WAIT)
    assert receiver.numbers() == [1, 2]


def test_a_crash_before_the_acknowledgement_sends_it_again(start: Start, receiver: Receiver) -> None:
    process = start()
    process.note()
    receiver.silent = True
    process.run(GATHER)
    process.kill()
    receiver.under_way.clear()
    receiver.silent = False
    process = start()
    process.note()
    process.run(GATHER)
    assert receiver.numbers() == [1, 2, 1, 2, 3]
    process.kill()
    start().run(60)
    assert receiver.numbers() == [1, 2, 1, 2, 3]


def test_one_message_is_under_way_and_what_is_not_acknowledged_is_sent_again(start: Start, receiver: Receiver) -> None:
    process = start()
    receiver.silent = True
    process.note(40)
    process.run(PATIENCE)
    process.note()
    assert len(receiver.messages) == 1
    receiver.under_way[0].callback(None)
    assert len(receiver.messages) == 2
    process.run(PATIENCE)
    receiver.silent = False
    process.run(GATHER)
    assert receiver.messages[1] == receiver.messages[2]
    assert sorted(set(receiver.numbers())) == list(range(1, 43))


def test_a_stop_while_a_message_is_under_way(tmp_path: Path, start: Start, receiver: Receiver) -> None:
    process = start()
    process.note()
    receiver.silent = True
    process.run(GATHER)
    process.stop()
    receiver.silent = False
    start().run(GATHER)
    assert receiver.messages[0] == receiver.messages[1]


def test_a_stop_at_any_other_time(start: Start, receiver: Receiver) -> None:
    start().stop()
    process = start()
    process.note()
    process.stop()
    receiver.error = Unavailable("not connected")
    process = start()
    process.run(12)
    process.stop()
    assert not receiver.messages


def test_what_was_pruned_before_it_was_published_is_said_once(start: Start, receiver: Receiver, tmp_path: Path) -> None:
    kept = Kept(100_000, 1e9)
    process = start(kept=kept)
    process.note()
    process.run(GATHER)
    receiver.error = Unavailable("not connected")
    process.note(1000)
    process.run(3600)
    process.kill()
    process = start(kept=kept)
    receiver.error = None
    with logged() as said:
        process.run(GATHER)
    first = json.loads(stored(tmp_path)[0])["line"]
    assert receiver.numbers() == [1, 2, *range(first, json.loads(stored(tmp_path)[-1])["line"] + 1)]
    assert said == [
        f"Lines of the audit log were removed or changed before they were published: 3 to {first - 1}",
    ]


def test_files_that_are_pruned_while_they_are_published(start: Start, receiver: Receiver) -> None:
    process = start(kept=Kept(100_000, 1e9))
    for _ in range(1000):
        process.note()
        process.run(GATHER / 3)
    process.run(GATHER)
    numbers = receiver.numbers()
    assert numbers == list(range(1, numbers[-1] + 1))


def test_what_a_power_cut_left_is_no_line(tmp_path: Path, start: Start, receiver: Receiver) -> None:
    process = start()
    process.note(3)
    process.run(GATHER)
    process.kill()
    (file,) = listed(tmp_path / "audit")
    with file.open("ab") as stream:
        stream.write(b'{"at":"20')
    process = start()
    process.run(60)
    process.note(2)
    process.run(GATHER)
    assert receiver.numbers() == [1, 2, 3, 4, 5, 6, 7]
    assert receiver.lines()[4]["torn"] == 9


def test_a_line_that_was_changed_is_missing_at_the_other_end(tmp_path: Path, start: Start, receiver: Receiver) -> None:
    process = start()
    process.note(4)
    (file,) = listed(tmp_path / "audit")
    lines = lines_of(file)
    put(file, [*lines[:2], lines[2].replace(b'"Off"', b'"On"'), *lines[3:]])
    with logged() as said:
        process.run(GATHER)
    assert receiver.numbers() == [1, 2, 4, 5]
    assert said == ["Lines of the audit log were removed or changed before they were published: 3"]


@pytest.mark.parametrize("steps", [0, 1, 30])
def test_another_log_in_place_of_the_published_one_is_published_whole(
    tmp_path: Path, start: Start, receiver: Receiver, steps: int
) -> None:
    process = start()
    process.note(9)
    process.run(GATHER)
    process.kill()
    receiver.messages.clear()
    (tmp_path / "audit").rename(tmp_path / "away")
    written(tmp_path / "audit", steps)
    process = start()
    process.run(GATHER)
    process.note()
    process.run(GATHER)
    assert receiver.numbers() == list(range(1, max(steps + 3, 3)) if steps else [1, 2])
    process.kill()
    start().run(60)
    assert receiver.numbers() == list(range(1, max(steps + 3, 3)) if steps else [1, 2])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"line":"3","hash":""}', b'{"line":3}'])
def test_where_it_is_not_known_what_was_published_all_is(
    tmp_path: Path, start: Start, receiver: Receiver, content: bytes
) -> None:
    process = start()
    process.note(3)
    process.run(GATHER)
    process.kill()
    (tmp_path / PUBLISHED).write_bytes(content)
    with logged() as said:
        process = start()
        process.run(GATHER)
    assert receiver.numbers() == [1, 2, 3, 4] * 2
    (line,) = said
    assert str(tmp_path / PUBLISHED) in line
    assert line.endswith("all of the audit log is published")


def test_each_line_goes_to_its_things_topic(start: Start, receiver: Receiver) -> None:
    process = start(topic="fleet/{thing}/audit")
    process.note()
    process.note(2, thing="van-trailer")
    process.note(thing="../#")  # of whoever changed the log
    process.note(thing="van-trailer")
    process.run(GATHER)
    sent = [(topic, json.loads(payload)) for topic, payload in receiver.messages]
    assert [(topic, body["thing"], [line["line"] for line in body["lines"]]) for topic, body in sent] == [
        ("fleet/van/audit", "van", [1, 2]),
        ("fleet/van-trailer/audit", "van-trailer", [3, 4]),
        ("fleet/van/audit", "van", [5]),
        ("fleet/van-trailer/audit", "van-trailer", [6]),
    ]


def test_one_topic_has_the_lines_of_all_things(start: Start, receiver: Receiver) -> None:
    process = start()
    process.note()
    process.note(thing="van-trailer")
    process.run(GATHER)
    assert [line.get("thing") for line in receiver.lines()] == [None, "van", "van-trailer"]
    assert json.loads(receiver.messages[0][1])["thing"] == "van"


def test_a_disk_that_is_full_is_told_once_and_holds_nothing_up(
    tmp_path: Path, start: Start, receiver: Receiver
) -> None:
    process = start()
    process.note()
    (tmp_path / f"{PUBLISHED}.new").mkdir()  # what a mark is written to
    with logged() as said:
        process.run(GATHER)
        process.note()
        process.run(600)
    assert receiver.numbers() == [1, 2, 3]
    (line,) = said
    assert str(tmp_path / PUBLISHED) in line
    (tmp_path / f"{PUBLISHED}.new").rmdir()
    process.note()
    process.run(LONGEST_WAIT)
    process.kill()
    start().run(60)
    assert receiver.numbers() == [1, 2, 3, 4]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example has a folder of its own
@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from(["", "fail", "silent", "kill", "torn"])), max_size=12))
def test_every_line_arrives_in_order_whatever_happens(tmp_path: Path, events: list[tuple[int, str]]) -> None:
    folder, receiver = Path(tempfile.mkdtemp(dir=tmp_path)), Receiver()
    process = Process(folder, receiver)
    for steps, event in events:
        receiver.error = Unavailable("not connected") if event == "fail" else None
        receiver.silent = event == "silent"
        process.note(steps)
        process.run(steps)
        if event in ("kill", "torn"):
            process.kill()
            receiver.under_way.clear()
            if event == "torn":
                with listed(folder / "audit")[-1].open("ab") as stream:
                    stream.write(b'{"half')
            process = Process(folder, receiver)
    receiver.error, receiver.silent = None, False
    process.run(LONGEST_WAIT + PATIENCE)
    there = [json.loads(line)["line"] for line in stored(folder)] if (folder / "audit").exists() else []
    assert sorted(set(receiver.numbers())) == there
    reached = 0
    for number in receiver.numbers():
        assert number <= reached + 1
        reached = max(reached, number)
    process.stop()


def test_no_file_is_read_from_its_beginning_again(tmp_path: Path) -> None:
    written(tmp_path, 200)
    (file,) = listed(tmp_path)
    tail, reached, done = Tail(tmp_path), 0, 0
    while lines := tail.after(reached, 1_000):
        assert tail.after(reached, 1_000) == lines  # as after a failure
        reached, done = json.loads(lines[-1])["line"], done + sum(len(line) + 1 for line in lines)
        file.write_bytes(b"x" * done + file.read_bytes()[done:])
    assert reached == 201


def test_lines_that_are_far_apart_are_found(tmp_path: Path) -> None:
    written(tmp_path, 1000, Kept(100_000, 1e9))
    tail = Tail(tmp_path)
    files = listed(tmp_path)
    assert len(files) > 5
    last = json.loads(lines_of(files[-1])[-1])["line"]
    for after in (0, last - 1, last - 50, int(files[3].stem), int(files[3].stem) - 1, last, last + 5):
        found = [json.loads(line)["line"] for line in tail.after(after, 1)]
        expected = max(after + 1, int(files[0].stem))
        assert found == ([expected] if expected <= last else [])


def test_what_became_of_commands_arrives_after_outages_and_crashes(tmp_path: Path) -> None:
    """The whole service, with Greengrass and the cloud as models."""
    file = tmp_path / "twin.toml"
    file.write_text('[audit]\ntopic = "$aws/rules/audit/{thing}"\n')
    file.chmod(0o600)
    made = CloudWorld(tmp_path, 1, VICTRON_TWIN_COMMANDS="all", VICTRON_TWIN_CONFIG=str(file))
    with running(made):
        made.run(20)
        for mode in "Charger Only", "On", "Off":
            made.desire("victron-vebus", mode=mode)
            made.run(4)
            made.cloud.online = False
            made.run(120)
            made.restart()
            made.run(30)
            made.cloud.online = True
            made.run(LONGEST_WAIT + 30)
            assert made.reported("victron-vebus")["mode"] == mode
        lines = [json.loads(line) for line in stored(tmp_path)]
        got = [line for topic, payload in made.messages for line in json.loads(payload)["lines"]]
        assert {topic for topic, _ in made.messages} == {"$aws/rules/audit/victron-twin"}
        assert list({line["line"]: line for line in got}.values()) == lines
        assert len(lines) > 12
