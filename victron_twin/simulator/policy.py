"""What makes a broker a particular GX's: who may log in, what may be published, what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Login:
    """What a client says in CONNECT; an empty client id has already been replaced by one of ours."""

    client_id: str
    username: str | None
    password: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Verdict:
    """The answer to a login, sent after ``delay`` seconds. What is not accepted gets CONNACK 5."""

    accepted: bool
    delay: float = 0.0


class Policy(Protocol):
    """What makes a broker a GX's."""

    def login(self, login: Login) -> Verdict: ...

    def allows(self, topic: str) -> bool:
        """Whether clients may publish here. What they may not is dropped, and acknowledged all the same."""

    def received(self, topic: str, payload: bytes) -> None:
        """A client published this, and those who subscribed have it."""


class Open:
    """The policy without one."""

    def login(self, login: Login) -> Verdict:
        return Verdict(True)

    def allows(self, topic: str) -> bool:
        return True

    def received(self, topic: str, payload: bytes) -> None: ...
