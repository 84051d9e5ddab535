"""The names of the simulated sites, as an option has them."""

from __future__ import annotations

from twisted.python.usage import UsageError

#: The first is the one that is taken unless another is asked for.
SITES = ("van", "large")
#: Tells the service of the demo which site its simulated GX is to have.
ENVIRONMENT = "VICTRON_TWIN_DEMO_SITE"


def site(text: str) -> str:
    """The name of a site, for :class:`twisted.python.usage.Options`."""
    if text not in SITES:
        raise UsageError(f"{text!r} is no site: it must be one of {', '.join(SITES)}")
    return text
