"""The ``victron-twin`` command as a process, which ends with the test whatever happens in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.service import end, wait_until


class Program:
    """``victron-twin COMMAND ...``; what it says on standard output and error stands in ``path``::

    with Program(tmp_path / "simulate.log", "simulate", "--port", "8883") as program:
        program.wait_for("listens")
    """

    def __init__(self, path: Path, *arguments: str, environment: Mapping[str, str] = {}) -> None:
        self.path = path
        self._arguments = [sys.executable, "-m", "victron_twin.cli", *arguments]
        self._environment = {**os.environ, **environment}

    def __enter__(self) -> Program:
        with self.path.open("wb") as output:
            self.process = subprocess.Popen(
                self._arguments, env=self._environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        end(self.process)

    @property
    def output(self) -> str:
        return self.path.read_text()

    def wait_for(self, text: str) -> None:
        """Until it has said so; it must be running then."""

        def said() -> bool:
            ended = self.process.poll() is not None
            found = text in self.output
            assert found or not ended, self.output
            return found

        wait_until(said, text)

    def wait(self) -> int:
        """Its exit status, when it ends by itself."""
        return self.process.wait(60)

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(10)
