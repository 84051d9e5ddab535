"""The state folder: made, tried and held by one process at a time."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

LOCK = "lock"


class StateError(Exception):
    """The state folder cannot be used; the message names it and says what to do."""


class InUse(StateError):
    """Another process has it, most likely the running service."""


class StateFolder:
    """A folder that this process alone keeps its state in, until :meth:`release` or its end.

    The lock is the kernel's, on an open file: it goes with the process however that ends, and the process id in the
    file is only for people. Forked children share it, executed ones do not.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def claim(cls, path: Path) -> StateFolder:
        """Make the folder (0700) if need be, see that it can be written to, and lock it. Raises StateError."""
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _unusable(path, error) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                raise InUse(
                    f"state_dir {path} is already in use by another victron-twin (pid {holder or 'unknown'}): "
                    "stop that one, or set state_dir to another folder"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            os.close(descriptor)
            raise _unusable(path, error) from None
        except StateError:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def release(self) -> None:
        """Let another process have it; more than once does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _unusable(path: Path, error: OSError) -> StateError:
    remedy = "set state_dir (VICTRON_TWIN_STATE_DIR) to a folder that this user may write to"
    return StateError(f"state_dir {path} cannot be written to ({error.strerror}): {remedy}")
