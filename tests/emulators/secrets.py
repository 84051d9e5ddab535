"""Secret Manager: the secrets of the cloud, and the nucleus' copy of them."""

from __future__ import annotations

from collections.abc import Mapping

from . import access
from .access import Access
from .cloud import Cloud
from .connection import Body, Failed, Stream


class SecretManager:
    """``secrets`` are the cloud's, by ARN; the copy is as old as the start, or as the last refresh."""

    def __init__(self, secrets: Mapping[str, str], cloud: Cloud, access: Access) -> None:
        self.secrets = dict(secrets)
        self._copy: dict[str, str] = {}
        self._cloud = cloud
        self._access = access

    def start(self) -> None:
        if self._cloud.online:
            self._copy = dict(self.secrets)

    def get(self, stream: Stream, request: Body) -> Body:
        arn = request.get("secretId")
        if not arn:
            raise Failed("InvalidArgumentsError", "secretId is missing")
        self._access.check(access.SECRETS, stream.operation, arn)
        if request.get("versionId") and request.get("versionStage"):
            raise Failed("InvalidArgumentsError", "Both versionId and versionStage are given")
        if request.get("refresh"):
            if not self._cloud.online:
                raise Failed("ServiceError", "Unable to fetch the secret from the cloud")
            self.start()
        if arn not in self._copy:
            raise Failed("ResourceNotFoundError", f"Secret not found {arn}")
        return {
            "secretId": arn,
            "versionId": "1",
            "versionStage": ["AWSCURRENT"],
            "secretValue": {"secretString": self._copy[arn]},
        }
