"""The emulated nucleus as a child process, which ends with the test whatever happens in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.service import end


class NucleusProcess:
    """``environment`` is what a component of it finds set::

    with NucleusProcess(tmp_path / "nucleus.sock", "--lite") as nucleus:
        nucleus.ask('desire victron-vebus {"mode": "Off"}')
        assert nucleus.asked("status")["connections"] == 1
    """

    def __init__(self, socket: Path, *arguments: str) -> None:
        self._command = [sys.executable, "-m", "tests.emulators.nucleus", "--socket", str(socket), *arguments]
        self.environment: dict[str, str] = {}

    def __enter__(self) -> NucleusProcess:
        self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while (line := self._line()).startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.environment[name] = value
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        end(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def ask(self, command: str) -> str:
        """Its answer, one line; a ValueError where it is an error."""
        if self.process.stdin is not None:
            self.process.stdin.write(f"{command}\n".encode())
            self.process.stdin.flush()
        answer = self._line()
        if answer.startswith("error:"):
            raise ValueError(answer)
        return answer

    def asked(self, command: str) -> Any:
        """The same, where it is JSON."""
        return json.loads(self.ask(command))

    def _line(self) -> str:
        line = self.process.stdout.readline() if self.process.stdout is not None else b""
        if not line:
            raise RuntimeError(f"the emulated nucleus ended with {self.process.wait()}")
        return line.decode().rstrip("\n")
