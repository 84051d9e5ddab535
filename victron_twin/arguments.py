"""What options of commands may be: for :class:`twisted.python.usage.Options`, with a UsageError in plain words."""

from __future__ import annotations

import math

from twisted.python.usage import UsageError


def port(text: str) -> int:
    """A TCP port."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
        raise UsageError(f"{text!r} is no port: it must be a whole number from 1 to 65535")
    return int(text)


def count(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise UsageError(f"{text!r} cannot be used: it must be a whole number, 1 or more")
    return int(text)


def positive(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UsageError(f"{text!r} cannot be used: it must be a number above 0")
    return number
