"""Shadow Manager's configuration: the twin's shadows are synchronized, and no others.

``python deploy/shadow_manager.py > deploy/shadow-manager.json`` brings the file up to date with the catalogue. With the
names of further GX's things behind it, their shadows are listed too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from victron_twin.catalog import load


def configuration(shadows: Iterable[str], things: Iterable[str] = ()) -> dict[str, Any]:
    """What a deployment merges into ``aws.greengrass.ShadowManager``'s configuration.

    The core's own thing is meant where none is named. Of each shadow's changes Shadow Manager hears by itself; a
    period (``strategy.type`` periodic) would put off commands as well as reports.
    """
    synced = {"classic": False, "namedShadows": list(shadows)}
    synchronize: dict[str, Any] = {"direction": "betweenDeviceAndCloud", "coreThing": synced}
    further = dict.fromkeys(things, synced)
    if further:
        synchronize["shadowDocumentsMap"] = further
    return {"strategy": {"type": "realTime"}, "synchronize": synchronize}


if __name__ == "__main__":
    print(json.dumps(configuration(load().shadows, sys.argv[1:]), indent=2))
