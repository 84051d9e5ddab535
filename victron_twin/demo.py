"""``victron-twin demo``: a simulated site with the real service, and a small live table in the terminal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

from twisted.python import usage

from . import arguments
from .simulator.sites import ENVIRONMENT, SITES, site

#: The port of the page, and how many above it are tried where it is taken.
PORT, TRIES = 8480, 50
#: How long the service may take to show every shadow, in s.
PATIENCE = 60.0

THING = "victron-twin"

#: What the table shows: a heading, the shadow, the field, the unit.
COLUMNS = (
    ("SoC", "victron-battery", "soc", "%"),
    ("battery", "victron-battery", "power", "W"),
    ("solar", "victron-system", "solar.power", "W"),
    ("load", "victron-system", "ac.consumption.l1", "W"),
    ("mode", "victron-vebus", "mode", ""),
)


class Options(usage.Options):
    synopsis = "[options]"
    optParameters: ClassVar = [
        ["state-dir", None, None, "The folder of the demo's state [.demo, for another site .demo/<site>]."],
        ["port", None, PORT, "The port of the page; where it is taken, the next free one.", arguments.port],
        ["site", None, SITES[0], f"The site of the simulated GX: {' or '.join(SITES)}.", site],
    ]

    def postOptions(self) -> None:
        if self["state-dir"] is None:
            self["state-dir"] = ".demo" if self["site"] == SITES[0] else f".demo/{self['site']}"


def main(options: usage.Options) -> int:
    """Run until Ctrl-C or SIGTERM; the exit status."""
    state = Path(options["state-dir"]).resolve()
    log = state / "service.log"
    try:
        state.mkdir(parents=True, exist_ok=True)
        output = log.open("ab")  # it may be that of a demo that runs
    except OSError as error:
        raise SystemExit(f"victron-twin: --state-dir: {log} cannot be written ({error.strerror})") from None
    port = free_port(options["port"])
    if port != options["port"]:
        print(f"Port {options['port']} is taken, so the page is on {port}.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with output:
        service = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "victron-twin", "--demo"),
                *("--state-dir", str(state), "--http", f"tcp:{port}:interface=127.0.0.1"),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, ENVIRONMENT: options["site"]},
        )
    try:
        return Demo(f"http://127.0.0.1:{port}", service, log).show()
    except KeyboardInterrupt:
        print("\nEnding.")
        return 0
    finally:
        service.terminate()
        service.wait()


def free_port(first: int) -> int:
    """The first port from here that nobody listens on."""
    last = min(first + TRIES - 1, 65535)
    for port in range(first, last + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SystemExit(f"victron-twin: no free port from {first} to {last}: give another with --port")


class Demo:
    """The terminal's side: waits for the shadows, says what to try, and follows the numbers."""

    def __init__(self, url: str, service: subprocess.Popen[bytes], log: Path) -> None:
        self._url = url
        self._service = service
        self._log = log

    def show(self) -> int:
        """Until the service ends."""
        if not self._wait():
            return self._failed()
        print(f"\n  The page:  {self._url}/\n  The log:   {self._log}\n\n  To try:")
        print(f"    curl -s '{self._url}/things/{THING}/shadow?name=victron-battery'")
        command = Path(sys.argv[0])
        with contextlib.suppress(ValueError):
            command = command.resolve().relative_to(Path.cwd())
        print(f"    {command} shadow set --url {self._url} victron-vebus mode='Charger Only'")
        print("    Ctrl-C ends it.\n")
        terminal = sys.stdout.isatty()
        print("  " + "".join(f"{name:>14}" for name, *_ in COLUMNS) + f"{'version':>10}")
        while self._service.poll() is None:
            line = self._line()
            print(f"\r  {line}" if terminal else f"  {line}", end="" if terminal else "\n", flush=True)
            time.sleep(2 if terminal else 10)
        return self._failed()

    def _wait(self) -> bool:
        end = time.monotonic() + PATIENCE
        wanted = {shadow for _, shadow, _, _ in COLUMNS}
        while self._service.poll() is None and time.monotonic() < end:
            if self._get("/health") and all(self._get(f"/things/{THING}/shadow?name={name}") for name in wanted):
                return True
            time.sleep(0.3)
        return False

    def _line(self) -> str:
        documents = {name: self._get(f"/things/{THING}/shadow?name={name}") or {} for _, name, _, _ in COLUMNS}
        cells = []
        for _, shadow, field, unit in COLUMNS:
            value: Any = documents[shadow].get("state", {}).get("reported", {})
            for key in field.split("."):
                value = value.get(key, "-") if isinstance(value, dict) else "-"
            cells.append(f"{f'{value} {unit}'.strip():>14}")
        version = max((d.get("version", 0) for d in documents.values()), default=0)
        return "".join(cells) + f"{version:>10}"

    def _get(self, path: str) -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(self._url + path, timeout=5) as answer:
                read: dict[str, Any] = json.load(answer)
                return read
        except (urllib.error.URLError, OSError, ValueError):
            return None

    def _failed(self) -> int:
        print(f"The service has ended or does not answer; the end of its log ({self._log}):", file=sys.stderr)
        for line in self._log.read_text(errors="replace").splitlines()[-12:]:
            print(f"  {line}", file=sys.stderr)
        return self._service.poll() or 1
