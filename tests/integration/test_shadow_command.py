"""``victron-twin shadow`` as a user runs it: with the real service, and with one whose answers are written here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from klein import Klein
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread

from tests.asynchronous import asynchronous, wait
from tests.mosquitto import HOST, free_port
from tests.service import Service, wait_until
from victron_twin.shadows.backend import Delta
from victron_twin.shadows.local import LocalBackend
from victron_twin.web.access import Access, guarded_site
from victron_twin.web.dataplane import DataPlane
from victron_twin.worker import ThreadWorker

pytestmark = pytest.mark.integration

TOKEN = "0123456789abcdef0123456789abcdef"
THING, SHADOW = "van", "victron-vebus"


@dataclass(frozen=True)
class Told:
    out: str
    errors: str
    status: int


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "victron_twin.cli", "shadow", *arguments]


def shadow(*arguments: str) -> Told:
    environment = {"PATH": os.environ["PATH"], "http_proxy": f"http://{HOST}:1"}
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert "Traceback" not in done.stderr, done.stderr
    return Told(done.stdout, done.stderr, done.returncode)


class Kept:
    """A data plane over a store, with somebody who answers desires."""

    def __init__(self, folder: Path) -> None:
        clock = IReactorTime(reactor)
        self.folder = folder
        self.backend = LocalBackend(folder / "shadows.sqlite", clock, ThreadWorker(reactor, "shadows"))
        wait(self.backend.start())
        site = guarded_site(DataPlane(self.backend, clock).beside(Klein().resource()), Access(TOKEN))
        self._port = wait(cast("Any", TCP4ServerEndpoint)(reactor, 0, interface=HOST).listen(site))
        self.port = self._port.getHost().port
        self.report({"mode": "On", "deviceInstance": 276})
        (folder / "token").write_text(TOKEN + "\n")

    def stop(self) -> None:
        wait(maybeDeferred(self._port.stopListening))
        wait(self.backend.stop())

    def report(self, reported: Mapping[str, Any]) -> None:
        wait(self.backend.update(THING, SHADOW, {"state": {"reported": reported}}))

    def document(self) -> Any:
        return wait(self.backend.get(THING, SHADOW))

    def answer(self, *statuses: str, settled: Any = "On") -> None:
        """What is told of each desire for the mode, one after the other, and that it is overwritten at the last."""

        answered: list[Any] = []

        def tell(delta: Delta) -> None:
            asked = delta.state["mode"]
            if asked in answered:
                return
            answered.append(asked)
            for status in statuses:
                result = {"status": status, "value": asked, "reason": f"because {status}", "id": "", "at": "now"}
                state: dict[str, Any] = {"reported": {"commands": {"mode": result}}}
                if status != "pending":
                    state["desired"] = {"mode": settled}
                    state["reported"]["mode"] = settled
                self.backend.update(THING, SHADOW, {"state": state})

        self.backend.watch(tell)

    async def shadow(self, what: str, *arguments: str, options: tuple[str, ...] = ()) -> Told:
        where = ("--http", f"tcp:{self.port}:interface={HOST}", "--thing", THING, "--state-dir", str(self.folder))
        return await deferToThread(shadow, what, *where, *options, *arguments)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    kept.stop()


@asynchronous
async def test_get(kept: Kept) -> None:
    told = await kept.shadow("get", SHADOW)
    assert (json.loads(told.out), told.status) == ({"mode": "On", "deviceInstance": 276}, 0)
    assert "\n" in told.out.strip()
    told = await kept.shadow("get", SHADOW, options=("--all",))
    assert json.loads(told.out).keys() == {"state", "metadata", "version", "timestamp"}


@asynchronous
async def test_a_shadow_that_is_not_there_is_neither_shown_nor_made(kept: Kept) -> None:
    for what, arguments in (("get", ()), ("set", ("mode=On",)), ("watch", ())):
        told = await kept.shadow(what, "victron-vebsu", *arguments)
        assert (told.out, told.status) == ("", 1)
        assert told.errors.count("\n") == 1
        assert told.errors.endswith(f"there is {SHADOW}\n")
    assert await kept.backend.named_shadows(THING) == [SHADOW]


@asynchronous
async def test_a_service_that_is_not_there(kept: Kept) -> None:
    url = f"http://{HOST}:{free_port()}"
    told = await kept.shadow("get", SHADOW, options=("--url", url))
    assert told.status == 1
    assert told.errors == (
        f"victron-twin: no service answers at {url} (connection refused): is it running? --url says where\n"
    )
    told = await kept.shadow("get", SHADOW, options=("--url", "nonsense"))
    assert (told.errors.count("\n"), told.status) == (1, 1)


@asynchronous
async def test_set_writes_what_is_desired_and_tells_what_becomes_of_it(kept: Kept) -> None:
    kept.answer("pending", "applied", settled="Charger Only")
    told = await kept.shadow("set", SHADOW, "mode=Charger Only")
    assert told.out.splitlines()[-1] == "mode: applied - because applied"
    assert told.status == 0
    document = await kept.backend.get(THING, SHADOW)
    assert document["state"]["desired"] == {"mode": "Charger Only"}
    told = await kept.shadow("set", SHADOW, "mode", "Charger Only")
    assert (told.out, told.status) == ("mode: it was so already\n", 0)


@pytest.mark.parametrize(("status", "exit_status"), [("sent", 0), ("rejected", 1), ("unconfirmed", 1), ("expired", 1)])
@asynchronous
async def test_the_exit_status_says_whether_it_was_done(kept: Kept, status: str, exit_status: int) -> None:
    kept.answer(status)
    told = await kept.shadow("set", SHADOW, "mode=4")
    assert (told.out, told.status) == (f"mode: {status} - because {status}\n", exit_status)


@asynchronous
async def test_a_desire_that_nobody_settles(kept: Kept) -> None:
    told = await kept.shadow("set", SHADOW, "devices.277.mode=4", options=("--timeout", "0.5"))
    assert told.out.startswith("devices.277.mode: not settled in 0.5 s - the service has not told")
    assert told.status == 1
    document = await kept.backend.get(THING, SHADOW)
    assert document["state"]["desired"] == {"devices": {"277": {"mode": 4}}}


@asynchronous
async def test_a_desire_that_stays_pending(kept: Kept) -> None:
    kept.answer("pending")
    told = await kept.shadow("set", SHADOW, "mode=4", options=("--timeout", "2"))
    assert told.out.splitlines()[-1] == "mode: not settled in 2 s - because pending"


@asynchronous
async def test_an_action_is_desired_with_an_id_and_an_expiry(kept: Kept) -> None:
    await kept.shadow("set", SHADOW, "redetectSystem=1", options=("--timeout", "0.1"))
    document = await kept.backend.get(THING, SHADOW)
    assert document["state"]["desired"]["redetectSystem"].keys() == {"value", "id", "expires"}


@asynchronous
async def test_without_the_token_nothing_is_changed(kept: Kept) -> None:
    token = kept.folder / "token"
    version = (await kept.backend.get(THING, SHADOW))["version"]
    for change in (lambda: token.write_text("another-token-0123456789"), token.unlink):
        cast("Callable[[], object]", change)()
        told = await kept.shadow("set", SHADOW, "mode=4")
        assert (told.errors.count("\n"), told.status) == (1, 1)
        assert str(token) in told.errors
    assert "No such file" in told.errors
    assert (await kept.backend.get(THING, SHADOW))["version"] == version


def test_with_the_real_service(tmp_path: Path) -> None:
    with Service(tmp_path, "--demo") as service:
        service.wait_until_healthy()
        where = ("--url", service.url)
        with subprocess.Popen(
            command("watch", *where, SHADOW), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as watching:
            assert watching.stdout is not None
            assert watching.stdout.readline().startswith(SHADOW)
            told = shadow("set", *where, SHADOW, "mode=Charger Only")
            assert (told.out, told.status) == ("mode: applied\n", 0)
            for line in watching.stdout:
                if line.endswith(' mode: "On" -> "Charger Only"\n'):
                    break
            watching.send_signal(signal.SIGINT)
            rest = watching.stdout.read()
            assert watching.wait(10) == 0
            assert "Traceback" not in rest
        assert json.loads(shadow("get", *where, SHADOW).out)["mode"] == "Charger Only"
        told = shadow("set", *where, SHADOW, "mode=99")
        assert told.out.startswith("mode: rejected - ")
        assert told.status == 1
        told = shadow("set", *where, SHADOW, "redetectSystem=1")
        assert told.out.startswith("redetectSystem: sent")
        assert told.status == 0
        document = json.loads(shadow("get", *where, "--all", SHADOW).out)
        assert "delta" not in document["state"]


def test_commands_are_switched_off_and_on_with_the_token(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        token = tmp_path / "state" / "token"

        def commands(word: str, state: Path = token.parent) -> tuple[int, str, str]:
            where = ["--url", service.url, "--state-dir", str(state)]
            done = subprocess.run(
                [sys.executable, "-m", "victron_twin.cli", "commands", *where, word],
                capture_output=True,
                text=True,
                check=False,
            )
            return done.returncode, done.stdout, done.stderr

        wait_until(lambda: commands("status")[:2] == (0, "commands: allow-list\n"), "the service answers")
        status, out, errors = commands("off", tmp_path / "nothing")
        assert (status, out) == (1, "")
        assert "wants the token" in errors
        assert commands("off")[:2] == (0, "commands: off (by hand)\n")
        assert commands("status")[:2] == (0, "commands: off (by hand)\n")
        assert commands("on")[:2] == (0, "commands: allow-list\n")
        assert commands("perhaps")[0] == 2


def test_a_reader_who_has_gone_is_no_error(tmp_path: Path) -> None:
    with Service(tmp_path, "--demo") as service:
        service.wait_until_healthy()
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            command("get", "--url", service.url, "victron-system"), stdout=writing, stderr=subprocess.PIPE, check=False
        )
        os.close(writing)
        assert (done.stderr, done.returncode) == (b"", 0)
