"""The certificates that were trusted at the first login, one for each host and port, in a small file."""

from __future__ import annotations

import re
from pathlib import Path

from victron_twin import files
from victron_twin.gx.errors import PinStoreError
from victron_twin.state import StateError

_SHA256 = re.compile("[0-9a-f]{64}")


class Pins:
    """SHA-256 fingerprints (64 hex digits in lower case, of the DER) by ``host:port``.

    The file is read again at each question, so that a line removed from it counts from the next attempt on.
    A file that cannot be understood trusts nobody: everything here raises PinStoreError then.

    Args:
        path: a JSON file; None keeps the pins in memory only.
        read_only: the file is never written, for what runs beside the service; what is remembered is forgotten at the
            end.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self._path = path
        self.lasting = path is not None and not read_only  #: whether what is remembered is kept
        self._memory: dict[str, str] = {}

    @property
    def where(self) -> str:
        """Where the pins are kept, for messages."""
        return str(self._path) if self._path is not None else "memory"

    def get(self, host: str, port: int) -> str | None:
        """The fingerprint that was remembered; None where none was."""
        return self._read().get(_key(host, port))

    def remember(self, host: str, port: int, sha256: str) -> None:
        """Trust this certificate, and no other, from now on. Written before this returns."""
        if self._path is None or not self.lasting:
            self._memory[_key(host, port)] = sha256
            return
        pins = {**self._read(), _key(host, port): sha256}
        try:
            files.write_json(self._path, pins)
        except OSError as error:
            raise PinStoreError(f"{self._path} cannot be written, so that no certificate is trusted: {error}") from None

    def _read(self) -> dict[str, str]:
        if self._path is None:
            return self._memory
        try:
            pins = files.read_json(self._path)
        except StateError as error:
            raise PinStoreError(f"{error}; the certificates will be trusted anew then") from None
        for key, pin in pins.items():
            if not isinstance(pin, str) or not _SHA256.fullmatch(pin):
                raise PinStoreError(
                    f"{self._path}: the pin of {key} is no SHA-256 in hex; without that line its certificate is "
                    "trusted anew"
                )
        return {**self._memory, **pins}


def _key(host: str, port: int) -> str:
    host = host.lower()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
