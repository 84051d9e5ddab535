"""The real service as a process of its own, which ends with the test whatever happens in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.mosquitto import HOST, free_port

TWISTD = Path(sys.executable).with_name("twistd")
PATIENCE = 60.0


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """What the condition gives when it is true at last."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, f"it did not come in {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return result


def children(process: int) -> list[int]:
    """The process ids of a process's children."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # The name in parentheses may hold anything; state and parent come after it.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == process:
                    found.append(int(folder.name))
    return found


def runs(process: int) -> bool:
    """Whether it is there, and no zombie."""
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process: asked first, killed where it does not listen."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Service:
    """``twistd -n victron-twin`` on a port of its own::

    with Service(tmp_path, "--demo") as service:
        service.wait_until_healthy()
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        port: int | None = None,
        output: int | None = None,
        environment: Mapping[str, str] = {},
    ) -> None:
        """``output`` is a file descriptor for what it says, instead of ``log``."""
        self.port = port or free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.log = folder / "service.log"
        self._arguments = [
            *(str(TWISTD), "--nodaemon", "--pidfile=", "victron-twin"),
            *("--state-dir", str(folder / "state"), "--http", f"tcp:{self.port}:interface={HOST}"),
            *arguments,
        ]
        self._environment = {**os.environ, **environment}
        self._output = output

    def __enter__(self) -> Service:
        with self.log.open("wb") as log:
            output = log if self._output is None else self._output
            self.process = subprocess.Popen(
                self._arguments, env=self._environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for child in children(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGCONT)
        end(self.process)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status, which must come within the 5 s that are promised."""
        self.process.send_signal(number)
        return self.process.wait(5)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except (OSError, ValueError):
            return 0, None

    def wait_until_healthy(self) -> None:
        def healthy() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.get("/health")[0] == 200

        wait_until(healthy, "healthy")

    def gx(self) -> int:
        """The process id of the simulated GX."""
        (child,) = wait_until(lambda: children(self.process.pid), "a child")
        return int(child)
