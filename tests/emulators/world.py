"""An emulated nucleus with the cloud behind it and the real SDK's clients before it, for the emulator's own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor

from .client import Client
from .cloud import Cloud
from .nucleus import NucleusEmulator
from .shadow_manager import ShadowManager

REACTOR: Any = reactor


class World:
    """What is made here is gone after ``stop``."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "socket")
        self.cloud = Cloud(REACTOR)
        self.shadows = ShadowManager(REACTOR, self.cloud)
        self.shadows.limited = False
        self._clients: list[Client] = []
        self._emulator: NucleusEmulator | None = None

    async def nucleus(self, **options: Any) -> NucleusEmulator:
        options.setdefault("shadow_manager", self.shadows)
        self._emulator = NucleusEmulator(REACTOR, self.path, cloud=self.cloud, **options)
        await self._emulator.start()
        return self._emulator

    def client(self, token: str = "token") -> Client:
        client = Client(REACTOR, self.path, token)
        self._clients.append(client)
        return client

    async def connected(self, **options: Any) -> tuple[NucleusEmulator, Client]:
        nucleus = await self.nucleus(**options)
        client = self.client()
        await client.connect()
        return nucleus, client

    async def stop(self) -> None:
        for client in self._clients:
            await client.close()
        if self._emulator is not None:
            await self._emulator.stop()
            assert self._emulator.connections == self._emulator.in_flight == 0
