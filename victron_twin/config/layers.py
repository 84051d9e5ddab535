"""The layers that a configuration comes from, read into one form and laid over one another.

A :class:`Layer` holds raw values under the names of :data:`~victron_twin.config.keys.KEYS`, each with the place where
it stands, so that an error can say which of the places to mend.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .forms import Form, path
from .keys import CERTIFICATE_VALIDATION, CONFIG_ENV, CONFIG_OPTION, KEYS, PASSWORDS, SECURITY, TLS_ENABLED, Key

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What Greengrass itself keeps in a component's configuration.
GREENGRASS_OWN = frozenset({"accessControl"})


class ConfigError(ValueError):
    """The configuration cannot be used; the message names the key, the value, where it stands and what is allowed."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A value as it stands in a layer: ``origin`` says where, ``base`` is where a relative path starts."""

    value: Any = field(repr=False)
    key: Key
    form: Form
    origin: str
    base: Path

    def parsed(self) -> Any:
        """The typed value, or a ConfigError."""
        try:
            return self.form.parse(self.value, self.base)
        except ValueError as error:
            reason = f": {error}" if str(error) else ""
            shown = "the value" if self.key.secret else shorten(self.value)
            raise ConfigError(
                f"{self.key.name}: {shown} ({self.origin}) cannot be used{reason}; it must be {self.form.allowed}"
            ) from None


Values = dict[str, Raw]


@dataclass(slots=True)
class Layer:
    """One source of values: ``top`` for the process, ``gx`` for each GX.

    ``listed`` says that the layer gives the whole list of GX, not only some values of the first.
    """

    top: Values = field(default_factory=dict)
    gx: list[Values] = field(default_factory=lambda: [{}])
    listed: bool = False

    def add(self, raw: Raw) -> None:
        put(self.gx[0] if raw.key.name.startswith("gx.") else self.top, raw)

    def over(self, lower: Layer) -> Layer:
        """This layer's values, and the lower one's where this has none."""
        gx = self.gx if self.listed else [laid(self.gx[0], lower.gx[0]), *lower.gx[1:]]
        return Layer({**lower.top, **self.top}, gx, self.listed or lower.listed)


def put(values: Values, raw: Raw) -> None:
    """Add what a layer gives, once for each key."""
    before = values.get(raw.key.name)
    if before is not None:
        raise ConfigError(f"{raw.key.name} is given twice, as {before.origin} and as {raw.origin}: remove one")
    values[raw.key.name] = raw
    passwords = [values[name].origin for name in sorted(PASSWORDS & values.keys())]
    if len(passwords) > 1:
        raise ConfigError(f"the GX's password is given twice, as {' and as '.join(passwords)}: remove one")


def laid(upper: Values, lower: Values) -> Values:
    """One GX's values over another's."""
    if PASSWORDS & upper.keys():
        lower = {name: raw for name, raw in lower.items() if name not in PASSWORDS}
    return {**lower, **upper}


def from_options(options: Mapping[str, Any], base: Path) -> Layer:
    """The command line: what is not given is None or, of a flag, 0. Names that are no key's are not looked at."""
    layer = Layer()
    for key in KEYS:
        value = options.get(key.option) if key.option else None
        if value is not None and not (key.flag and not value):
            layer.add(Raw(value, key, key.form, f"--{key.option}", base))
    return layer


def from_environment(environ: Mapping[str, str], base: Path, keys: Iterable[Key] = KEYS) -> Layer:
    """The environment; an empty text counts as not set."""
    layer = Layer()
    for key in keys:
        for name in (key.env, *key.mission):
            if name and environ.get(name):
                layer.add(Raw(environ[name], key, key.names[name], f"{name} in the environment", base))
    return layer


def config_file(options: Mapping[str, Any], environ: Mapping[str, str], base: Path) -> Path | None:
    named = options.get(CONFIG_OPTION) or environ.get(CONFIG_ENV)
    try:
        return path(named, base) if named else None
    except ValueError as error:
        raise ConfigError(f"config: {shorten(named)} cannot be used: {error}; it must be a TOML file") from None


def from_file(file: Path) -> Layer:
    """A TOML file; relative paths in it start from its folder."""
    try:
        tree = tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"config: {file} cannot be read ({error.strerror}); it must be a TOML file") from None
    except ValueError as error:
        raise ConfigError(f"config: {file} is not TOML: {error}") from None
    return from_tree(tree, str(file), file.parent)


def from_component(tree: Mapping[str, Any], base: Path) -> Layer:
    """A Greengrass component's configuration; an empty text or null counts as not set."""
    own = {name: value for name, value in tree.items() if name not in GREENGRASS_OWN}
    return from_tree(_without_blanks(own), "the component's configuration", base)


def _without_blanks(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _without_blanks(value) for name, value in tree.items() if value is not None and value != ""}
    if isinstance(tree, list):
        return [_without_blanks(value) for value in tree]
    return tree


def from_tree(tree: Mapping[str, Any], place: str, base: Path) -> Layer:
    layer = Layer()

    def raws(table: Mapping[str, Any], prefix: str, place: str) -> Iterator[Raw]:
        for name, value in leaves(table, prefix, place):
            key = NAMES[name]
            yield Raw(value, key, key.names[name], f"{name} in {place}", base)

    entries = tree.get("gx")
    if isinstance(entries, list):
        if not entries or not all(isinstance(entry, Mapping) for entry in entries):
            raise ConfigError(f"gx: {shorten(entries)} in {place} is not a table or a list of tables, as [[gx]]")
        tree = {name: value for name, value in tree.items() if name != "gx"}
    for raw in raws(tree, "", place):
        layer.add(raw)
    if isinstance(entries, list):
        # What stands at the top in the mission's spelling (connectionTimeout) holds for each that has none of its own.
        shared, layer.gx, layer.listed = layer.gx[0], [], True
        for number, entry in enumerate(entries, 1):
            values: Values = {}
            for raw in raws(entry, "gx.", f"{place}, [[gx]] number {number}"):
                put(values, raw)
            layer.gx.append(laid(values, shared))
    return secured(layer)


def secured(layer: Layer) -> Layer:
    """The layer with its tlsEnabled and certificateValidation told as ``gx.trust``; a ConfigError where they differ."""
    given = {key.name: layer.top.pop(key.name) for key in SECURITY if key.name in layer.top}
    if not given:
        return layer
    tls = given[TLS_ENABLED.name].parsed() if TLS_ENABLED.name in given else None
    checked = given[CERTIFICATE_VALIDATION.name].parsed() if CERTIFICATE_VALIDATION.name in given else None
    meant = "plaintext" if tls is False else None if checked is None else "system" if checked else "tofu"
    source = next(iter(given.values()))
    for values in layer.gx:
        trust = values.get("gx.trust")
        if trust is not None:
            found = trust.parsed()
            if (tls is not None and tls == (found == "plaintext")) or (
                checked and found in ("tofu", "insecure", "plaintext")
            ):
                raise ConfigError(
                    f"gx.trust: {found!r} ({trust.origin}) contradicts {' and '.join(r.origin for r in given.values())}"
                )
        elif meant is not None:
            key = NAMES["gx.trust"]
            values[key.name] = replace(source, value=meant, key=key, form=key.form)
    return layer


#: What may stand in a file, by its whole name: ``gx.port``, ``VICTRON_PORT``, ``connectionTimeout``.
NAMES: Mapping[str, Key] = {name: key for key in (*KEYS, *SECURITY) for name in key.names}
SECTIONS = frozenset(name[:at] for name in NAMES for at, letter in enumerate(name) if letter == ".")


def leaves(table: Mapping[str, Any], prefix: str, place: str) -> Iterator[tuple[str, Any]]:
    """Every value of a tree of tables under its whole name; a ConfigError for a name that is not known."""
    for name, value in table.items():
        full = prefix + name
        if full in NAMES:
            yield full, value
        elif full not in SECTIONS:
            raise ConfigError(f"{full} in {place} is not a key{nearest(full, NAMES)}")
        elif not isinstance(value, Mapping):
            raise ConfigError(f"{full}: {shorten(value)} in {place} is not a table; it must hold keys, as [{full}]")
        else:
            yield from leaves(value, full + ".", place)


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """What is said of names in the environment that look like ours and are not."""
    known = [key.env for key in KEYS if key.env] + [CONFIG_ENV]
    strange = [name for name in sorted(environ) if name.startswith("VICTRON_") and name not in known]
    return [f"{name} in the environment is not known and has no effect{nearest(name, known)}" for name in strange]


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean gx.port?"``, or nothing where no name is near."""
    last = {candidate.rpartition(".")[2]: candidate for candidate in known}
    found = difflib.get_close_matches(name, list(known), 1, 0.6)
    found = found or [last[close] for close in difflib.get_close_matches(name.rpartition(".")[2], list(last), 1, 0.6)]
    return f"; did you mean {found[0]}?" if found else ""


def shorten(value: Any) -> str:
    found = repr(value)
    return found if len(found) <= 80 else found[:77] + "..."
