"""``victron-twin doctor``: whether all is in place for the service, link by link. It changes nothing."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import react
from twisted.logger import globalLogBeginner
from twisted.python import usage

from . import logs
from .catalog import Catalog, load
from .catalog.secrets import is_secret
from .checks import Check, Fault, Finding, State, examine
from .config import Config, ConfigError
from .config.keys import option_flags, option_parameters
from .config.layers import config_file
from .config.secret import exposed
from .greengrass.nucleus import Nucleus
from .gx import examine as link
from .gx.pins import Pins
from .gx.visit import Visit
from .shadows.backend import ShadowError, Unauthorized
from .shadows.choice import NEEDS_NUCLEUS, SOCKET, TOKEN, choose, no_cloud
from .shadows.local import LocalBackend
from .state import InUse, StateError
from .tap import keeper
from .worker import ThreadWorker

#: Files of the state folder that nobody else may read.
SECRETS = ("token", "manhole_host_key", "demo/password", "demo/key.pem")


@dataclass(frozen=True, slots=True)
class Here:
    """This side: what is configured, in which file."""

    reactor: Any
    config: Config
    file: Path | None

    def exposed(self) -> list[str]:
        """What is said of files with secrets that others can read."""
        config = self.config
        return exposed(
            [
                ("config", self.file),
                *(("gx.password_file", gx.password_file) for gx in config.gx),
                ("iotcore.key", config.iotcore.key),
                *(("state_dir", config.state_dir / name) for name in SECRETS),
            ]
        )


async def _backend(here: Here) -> str:
    config = here.config
    name, reason = choose(config.backend, os.environ, config.iotcore.endpoint)
    if name != "local":
        return await _remote(here, name, reason)
    if config.audit.topic is not None:
        raise no_cloud(name)
    folder = config.state_dir
    if not os.path.exists(folder):  # False also for what is out of sight
        above = next(parent for parent in folder.parents if os.path.exists(parent))
        if not os.access(above, os.W_OK | os.X_OK):
            raise _unwritable(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        return f"local ({reason}); {folder} is made at the first start"
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from None
    return f"local ({reason}); {folder} can be written to{await _store(here, folder / 'shadows.sqlite')}"


async def _remote(here: Here, name: str, reason: str) -> str:
    """Whether a shadow can be read there; it need not be there yet."""
    nucleus = None
    if name in NEEDS_NUCLEUS:
        nucleus = Nucleus(here.reactor, os.environ[SOCKET], os.environ[TOKEN], lambda message: None)
        nucleus.startService()
    backend = keeper(name, here.reactor, here.config, frozenset(load().shadows), nucleus)
    try:
        await backend.start()
        if nucleus is not None:
            await nucleus.when_connected()
        names = await backend.named_shadows(here.config.thing_name)
    except Unauthorized as error:
        raise Fault("not permitted", error.message, "see docs/greengrass.md for what has to be allowed") from None
    except ShadowError as error:
        raise Fault("backend not reachable", error.message, f"is {name} right, and the network there?") from None
    finally:
        await maybeDeferred(backend.stop)
        if nucleus is not None:
            await maybeDeferred(nucleus.stopService)
    return f"{name} ({reason}) answers; {here.config.thing_name} has {len(names)} of the shadows"


async def _store(here: Here, store: Path) -> str:
    """It is opened as the service does it, but not made: whoever runs the doctor would own it."""
    if not store.exists():
        return ""
    backend = LocalBackend(store, here.reactor, ThreadWorker(here.reactor, "shadow store"))
    try:
        await backend.start()
    except InUse:
        return ", and the running service holds the store, which is as it should be"
    except StateError as error:
        raise Fault("the store does not open", str(error)) from None
    await backend.stop()
    return ", and the store opens"


def _unwritable(folder: Path, error: OSError) -> Fault:
    why = error.strerror or str(error)
    return Fault(
        f"state folder: {why[:1].lower() + why[1:]}",
        f"state_dir {folder} cannot be written to ({why})",
        "set state_dir (VICTRON_TWIN_STATE_DIR) to a folder that this user may write to, or be the service's user",
    )


async def _permissions(here: Here) -> str:
    found = here.exposed()
    folder = here.config.state_dir
    if os.path.exists(folder) and folder.stat().st_mode & stat.S_IWOTH:
        found.append(f"state_dir: others can write to {folder}: chmod o-w {folder}")
    if here.config.manhole is not None:
        from . import manhole  # takes long

        try:
            manhole.check(here.config)
        except ConfigError as error:
            found.append(str(error))
    if found:
        raise Fault("; ".join(found))
    return "nobody else can read what is secret"


HERE: Sequence[Check[Here]] = (Check("backend", _backend), Check("permissions", _permissions))


class Options(usage.Options):
    synopsis = "[options]"
    longdesc = "Takes the options of the service, and reads the same file and environment."
    optParameters: ClassVar = option_parameters()
    optFlags: ClassVar = [
        *option_flags(),
        ["unknown", None, "List the topics that no table of the catalogue knows, with what they say."],
    ]


def main(options: usage.Options) -> int:
    """Examine and tell; 0 only if all holds."""
    globalLogBeginner.beginLoggingTo([logs.observer(sys.stderr, "human", "error")], redirectStandardIO=False)

    def run(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(_run(reactor, options))

    try:
        react(run)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


async def _run(reactor: Any, options: usage.Options) -> None:
    findings = await diagnose(reactor, options)
    causes = [finding.cause for finding in findings if finding.state is State.FAILED]
    print("Not well: " + "; ".join(dict.fromkeys(causes)) if causes else "All is well.")
    raise SystemExit(1 if causes else 0)


async def diagnose(reactor: Any, options: usage.Options) -> list[Finding]:
    """Every finding, printed as it comes."""
    try:
        here = Here(reactor, *_configured(options))
    except (ConfigError, Fault) as error:
        failed = Finding("configuration", State.FAILED, str(error), str(error))
        _tell(failed)
        return [failed, *_skipped()]
    config = here.config
    done = Finding(
        "configuration", State.OK, str(here.file) if here.file else "no file: environment, options, defaults"
    )
    _tell(done)
    for warning in sorted(set(config.warnings) - set(here.exposed())):
        print(f"{'note':<8}{'':<15}{warning}", flush=True)
    findings = [done]
    for gx in config.gx:
        if len(config.gx) > 1:
            print(f"GX {gx.host}:{gx.port}", flush=True)
        visit = Visit(reactor, gx, Pins(config.state_dir / "pins.json", read_only=True))
        findings += await examine(link.checks(gx.connect_timeout), visit, reactor, _tell, link.explain)
        await visit.leave()
        if options["unknown"]:
            for line in unknown(load(), visit):
                print(line, flush=True)
    return findings + await examine(HERE, here, reactor, _tell, link.explain)


def _configured(options: usage.Options) -> tuple[Config, Path | None]:
    """Raises ConfigError, or Fault for what the service takes and a doctor cannot look at."""
    config = Config.load(options, os.environ)
    if config.demo:
        raise Fault(
            "demo: its simulated GX is the service's own and only there while that runs; look at another one: "
            "victron-twin simulate, VICTRON_HOST=127.0.0.1"
        )
    return config, config_file(options, os.environ, Path.cwd())


def unknown(catalog: Catalog, visit: Visit) -> Iterator[str]:
    """A line for each topic of a GX that no table maps, and that is not left out on purpose either."""
    for (service, instance, path), payload in sorted(visit.values.items()):
        known = catalog.match(service, path) or catalog.helpers(service, path)
        if payload and not known and catalog.ignored.reason(service, path) is None:
            shown = "(a secret)" if is_secret(path) else payload[:80].decode("utf-8", "replace")
            yield f"{'unknown':<8}{service}/{instance}{path} {shown}"


def _skipped() -> Iterator[Finding]:
    for name in (*(check.name for check in link.checks()), *(check.name for check in HERE)):
        finding = Finding(name, State.SKIPPED, "needs configuration")
        _tell(finding)
        yield finding


def _tell(finding: Finding) -> None:
    state = finding.state.value.upper() if finding.state is State.FAILED else finding.state.value
    print(f"{state:<8}{finding.name:<15}{' '.join(finding.text.split())}", flush=True)
