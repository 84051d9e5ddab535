"""Passwords from AWS Secrets Manager, through the nucleus, which keeps a copy for when there is no network."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from victron_twin.config import Secret

from .errors import IpcError, Problem
from .nucleus import Nucleus

#: What a secret that is a JSON object calls the password.
KEY = "password"


class SecretError(Exception):
    """The secret cannot be had; the message names it and says what to do, and never shows it."""


class Secrets:
    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus

    def password(self, arn: str, refresh: bool) -> Deferred[Secret]:
        """The secret's text, or what its JSON object has as ``password``. ``refresh``: past the nucleus's copy.

        Fails with a SecretError.
        """
        return Deferred.fromCoroutine(self._password(arn, refresh))

    def _value(self, arn: str, refresh: bool) -> Deferred[Any]:
        return self._nucleus.call("get_secret_value", secret_id=arn, refresh=refresh)

    async def _password(self, arn: str, refresh: bool) -> Secret:
        try:
            found = await self._value(arn, refresh)
        except IpcError as error:
            # Without a network the copy is better than nothing; and there may be no copy yet.
            try:
                found = await self._value(arn, not refresh)
            except IpcError:
                raise SecretError(f"{arn} cannot be had ({error.message}){_remedy(error.problem)}") from None
        text = found.secret_value.secret_string if found.secret_value is not None else None
        if not text:
            raise SecretError(f"{arn} holds no text")
        try:
            parsed = json.loads(text)
        except ValueError:
            return Secret(text)
        if not isinstance(parsed, dict):
            return Secret(text)
        if not isinstance(parsed.get(KEY), str):
            raise SecretError(f"{arn} is a JSON object without the text {KEY!r}")
        return Secret(parsed[KEY])


def _remedy(problem: Problem) -> str:
    if problem is Problem.UNAUTHORIZED:
        return ": name it in the component's accessControl for aws.greengrass.SecretManager"
    if problem is Problem.NOT_FOUND:
        return ": name it under cloudSecrets in the configuration of aws.greengrass.SecretManager"
    if problem is Problem.UNSUPPORTED:
        return ": this nucleus has no Secrets Manager, use gx.password_file"
    return ""
