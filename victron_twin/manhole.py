"""A Python shell inside the running service, over SSH: off unless ``manhole`` says where, for those whose keys
``manhole_keys`` holds. Whoever gets in can do all that the service can, and what blocks there blocks the service.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from pprint import pprint
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.application.service import IService, IServiceCollection, Service
from twisted.conch.checkers import IAuthorizedKeysDB, SSHPublicKeyChecker
from twisted.conch.insults.insults import ServerProtocol
from twisted.conch.interfaces import IConchUser
from twisted.conch.manhole import ColoredManhole, ManholeInterpreter
from twisted.conch.manhole_ssh import ConchFactory, TerminalRealm, TerminalSession
from twisted.conch.ssh.keys import FingerprintFormats, Key
from twisted.conch.ssh.transport import DISCONNECT_BY_APPLICATION, SSHServerTransport
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from . import __version__, files
from .config import Config, ConfigError
from .core import Core
from .gx.service import GXService
from .state import StateError

HOST_KEY = "manhole_host_key"

BANNER = f"""Victron Twin {__version__}, from inside. What blocks here blocks the service.
  tree()     the services       root, core   the objects themselves
  gx()       the links          shadows()    what is kept where
  health()   as /health says    Ctrl-D       leaves
  commands_off()   the cloud may do nothing, until commands_on()
"""

_log = Logger()


def check(config: Config) -> None:
    """Raises ConfigError where the manhole would be open to others than it is meant for."""
    if config.manhole is None or config.manhole_keys is None:
        return
    # A socket in the file system, or one that systemd opened, is not on the network by oversight.
    if not re.match("unix:|systemd:", config.manhole) and not re.search(r"(?<!\\):interface=[^:]", config.manhole):
        raise ConfigError(
            f"manhole: {config.manhole} would listen on every network: give it an interface, as "
            "tcp:2222:interface=127.0.0.1"
        )
    keys = config.manhole_keys
    for path in dict.fromkeys((keys, keys.parent, keys.resolve(), keys.resolve().parent)):
        try:
            found = path.stat()
        except OSError as error:
            raise ConfigError(f"manhole_keys: {path}: {error.strerror}") from None
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(f"manhole_keys: others can write to {path}: chmod go-w {path}")
        if found.st_uid not in (0, os.geteuid()):
            raise ConfigError(f"manhole_keys: {path} belongs to another user: chown {os.geteuid()} {path}")
    if not KeyFile(config).read():
        raise ConfigError(f"manhole_keys: {keys} holds no public key; it must be like ~/.ssh/authorized_keys")


@implementer(IAuthorizedKeysDB)
class KeyFile:
    """The keys that may enter, under any user name; read again at each login, and checked again."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def getAuthorizedKeys(self, username: bytes) -> Iterable[Key]:
        try:
            check(self._config)
            return self.read()
        except ConfigError as error:
            _log.error("Nobody is let in: {error}", error=str(error))
            return []

    def read(self) -> list[Key]:
        """Lines with options in front of the key do not count: what they limit is not limited here."""
        path = cast("Path", self._config.manhole_keys)
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise ConfigError(f"manhole_keys: {path}: {error.strerror}") from None
        keys = []
        for line in map(bytes.strip, lines):
            if line and not line.startswith(b"#"):
                try:
                    key = Key.fromString(line)
                except Exception:  # noqa: BLE001 - whatever stands there, it is no key
                    continue
                if key.isPublic():
                    keys.append(key)
        return keys


def host_key(path: Path) -> Key:
    """The key by which clients know the manhole again, made where there is none. Raises StateError."""
    try:
        if not path.exists():
            files.write(path, Key(Ed25519PrivateKey.generate()).toString("openssh"))
        key: Key = Key.fromString(path.read_bytes())
    except Exception as error:  # noqa: BLE001 - conch raises whatever a spoilt key leads it to
        raise StateError(f"{path} cannot be used ({error}): remove it, and it is made anew") from None
    if key.isPublic():
        raise StateError(f"{path} holds no private key: remove it, and it is made anew")
    return key


class Manhole(Service):
    """Listens where the configuration says. ``fatal`` ends the process where that cannot be."""

    def __init__(
        self, reactor: Any, config: Config, namespace: Mapping[str, Any], fatal: Callable[[str], None]
    ) -> None:
        """Raises ConfigError and StateError."""
        check(config)
        self._where = cast("str", config.manhole)
        self._endpoint = serverFromString(reactor, self._where)
        key = host_key(config.state_dir / HOST_KEY)
        realm = cast("IRealm", _Realm(reactor, dict(namespace)))
        self._factory = cast("Any", ConchFactory)(Portal(realm, [SSHPublicKeyChecker(KeyFile(config))]))
        self._factory.noisy = False
        self._factory.protocol = _transport
        self._factory.publicKeys = {key.sshType(): key.public()}
        self._factory.privateKeys = {key.sshType(): key}
        self._fingerprint = key.fingerprint(FingerprintFormats.SHA256_BASE64).rstrip("=")
        self._fatal = fatal
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        super().startService()
        maybeDeferred(self._endpoint.listen, self._factory).addCallbacks(self._listening, self._failed)

    def stopService(self) -> Deferred[Any] | None:
        super().stopService()
        return self._port.stopListening() if self._port is not None else None

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        _log.info("The manhole is at {where}, its key is SHA256:{key}", where=self._where, key=self._fingerprint)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        why = str(error.socketError) if isinstance(error, CannotListenError) else failure.getErrorMessage()
        self._fatal(f"manhole: {self._where} cannot be listened on ({why}): set manhole to a free port")


def namespace(root: IService, core: Core) -> dict[str, Any]:
    """What stands ready inside."""

    def tree() -> None:
        """Print the services, each with its state."""
        for line in branches(root):
            print(line)

    def gx() -> None:
        """Print the links."""
        for each in core.gxs:
            print(each.status)

    def shadows() -> None:
        """Print what is kept, and what is wrong with it."""
        for each in core.sync.shadows():
            print(f"{each.thing}  {each.name:<24} version {each.ledger.version:<8} {each.problem}")

    def health() -> None:
        """Print the body of /health."""
        pprint(core.health.report(), sort_dicts=False)

    def commands_off() -> None:
        """Refuse every command from now on, until commands_on(), also over a restart."""
        print(core.commands.switch(True, "manhole") or f"commands: {core.commands.mode}")

    def commands_on() -> None:
        """Let the configuration say again what the cloud may do."""
        print(core.commands.switch(False, "manhole") or f"commands: {core.commands.mode}")

    return {
        "root": root,
        "core": core,
        "tree": tree,
        "gx": gx,
        "shadows": shadows,
        "health": health,
        "commands_off": commands_off,
        "commands_on": commands_on,
    }


def branches(service: IService, depth: int = 0) -> Iterable[str]:
    """A line for each service, the ones below it indented."""
    name = f" {service.name!r}" if service.name else ""
    more = f", {service.status.host} {service.status.text()}" if isinstance(service, GXService) else ""
    yield f"{'  ' * depth}{type(service).__name__}{name}: {'running' if service.running else 'stopped'}{more}"
    for child in IServiceCollection(service, ()):
        yield from branches(child, depth + 1)


class _Shell(ColoredManhole):
    def initializeScreen(self) -> None:
        self.terminal.reset()
        for line in BANNER.splitlines():
            self.terminal.write(line.encode())
            self.terminal.nextLine()
        self.terminal.write(self.ps[self.pn])
        self.setInsertMode()

    def terminalSize(self, width: int, height: int) -> None:
        """Without wiping what is there, unlike Conch's."""
        self.width, self.height = width, height


def _transport() -> Any:
    """Conch's own, but a client that says goodbye is no error. (A subclass would log under our name.)"""
    transport = cast("Any", SSHServerTransport)()
    told = transport.receiveError
    transport.receiveError = lambda code, why: None if code == DISCONNECT_BY_APPLICATION else told(code, why)
    return transport


class _Session(TerminalSession):
    """Conch's own raises where a terminal is resized, where the input ends, and for ``ssh host 'tree()'``."""

    width, height = 80, 24

    def __init__(self, avatar: Any, reactor: Any, names: Mapping[str, Any]) -> None:
        super().__init__(avatar)
        self._reactor = reactor
        self._names = names
        self._terminal: Any = None

    def openShell(self, proto: Any) -> None:
        self._terminal = ServerProtocol(_Shell, self._names)
        self.transportFactory(proto, self._terminal, IConchUser(self.original), self.width, self.height)

    def windowChanged(self, size: tuple[int, int, int, int]) -> None:
        self.height, self.width = size[:2]
        if self._terminal is not None:
            self._terminal.terminalProtocol.terminalSize(self.width, self.height)

    def eofReceived(self) -> None:
        if self._terminal is not None:
            self._terminal.loseConnection()

    def execCommand(self, proto: Any, command: bytes) -> None:
        output = _Output(proto.session)
        proto.makeConnection(output)
        self._reactor.callLater(0, self._execute, proto.session, output, command)  # first the request is answered

    def _execute(self, channel: Any, output: _Output, command: bytes) -> None:
        ManholeInterpreter(output, dict(self._names)).push(command)
        channel.conn.sendRequest(channel, b"exit-status", bytes(4))
        channel.loseConnection()


class _Output:
    """What an interpreter takes for its terminal, and the session for its process, which reads nothing."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def addOutput(self, data: str | bytes, isAsync: bool | None = None) -> None:
        self._channel.write(data if isinstance(data, bytes) else data.encode())

    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None: ...


class _Realm(TerminalRealm):
    def __init__(self, reactor: Any, names: Mapping[str, Any]) -> None:
        super().__init__()
        self.sessionFactory: Any = lambda avatar: _Session(avatar, reactor, names)

    def requestAvatar(self, avatarId: bytes, mind: object, *interfaces: Any) -> Any:
        _log.info("Somebody with a key has entered the manhole as {name}", name=avatarId.decode("utf-8", "replace"))
        return super().requestAvatar(avatarId, mind, *interfaces)
