"""How a GX judges logins: slow refusals, and limits against guessing."""

from __future__ import annotations

from random import Random

from victron_twin.simulator.policy import Verdict

#: Attempts at once; one more is earned each second.
BURST = 20.0
#: Distinct wrong passwords in a day after which nobody gets in.
WRONG_LIMIT = 150
DAY = 86_400.0
#: How long a refusal takes, seconds.
DELAY = (1.0, 6.0)


class Logins:
    """The judge. ``password`` None is the unsecured profile: everybody may.

    The user name does not matter; repeating the same wrong password costs nothing.
    """

    def __init__(self, password: str | None, random: Random) -> None:
        self.password = password
        self._random = random
        self._allowance = BURST
        self._since: float | None = None
        self._wrong: dict[bytes, float] = {}

    def judge(self, now: float, password: bytes | None) -> Verdict:
        """The verdict on a login at the time ``now`` (seconds)."""
        earned = 0.0 if self._since is None else now - self._since
        self._since = now
        self._allowance = min(BURST, self._allowance + earned)
        if self._allowance < 1.0:
            return self.refusal()
        self._allowance -= 1.0
        if self.password is None:
            return Verdict(True)
        self._wrong = {wrong: at for wrong, at in self._wrong.items() if now - at < DAY}
        given = password or b""
        locked = len(self._wrong) >= WRONG_LIMIT
        if given == self.password.encode() and not locked:
            return Verdict(True)
        if given != self.password.encode() and (given in self._wrong or not locked):
            self._wrong.setdefault(given, now)
        return self.refusal()

    def refusal(self) -> Verdict:
        """A no, as late as a GX gives it."""
        return Verdict(False, self._random.uniform(*DELAY))
