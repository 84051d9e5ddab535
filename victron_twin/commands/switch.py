"""The emergency off: somebody has said by hand that nothing may be written, until somebody says otherwise."""

from __future__ import annotations

from pathlib import Path

from twisted.logger import Logger

from victron_twin import files


class Switch:
    """Off while there is a file; it holds over restarts. What cannot be looked at counts as off."""

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.stat()
        except FileNotFoundError:
            self.off = False
        except OSError as error:
            self.off = True
            self._log.error(
                "Commands are off: {path} cannot be looked at ({error})", path=str(path), error=error.strerror
            )
        else:
            self.off = True
            self._log.warn("Commands are off, by hand, since before this start")

    def turn(self, off: bool, who: str) -> str:
        """Switch, and say what is wrong where that could not be kept; an empty text where nothing is.

        ``who`` is for the log. Off counts whether or not it could be written down, on only if it could.
        """
        try:
            if off:
                self.off = True
                files.write(self._path, b"commands are off, by hand: victron-twin commands on\n")
            else:
                self._path.unlink(missing_ok=True)
                self.off = False
        except OSError as error:
            problem = f"{self._path} cannot be {'written' if off else 'removed'} ({error.strerror})"
            result = f"commands are off, but only until a restart: {problem}" if off else f"still off: {problem}"
            self._log.error("Commands: {result}", result=result)
            return result
        self._log.warn("Commands are switched {to} by hand ({who})", to="off" if off else "on", who=who)
        return ""
