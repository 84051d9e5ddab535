"""A simulated GX behind another broker than ours: what joins its plugin to Debian's mosquitto."""

from __future__ import annotations

import ssl
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from twisted.internet.interfaces import IReactorFromThreads

from tests.mosquitto import HOST, Mosquitto
from victron_twin.simulator.gx import GX
from victron_twin.simulator.plugin import Plugin


class StillGX(GX):
    """A GX whose time can stand still, so that there is something to converge to."""

    still = False

    def tick(self) -> None:
        if not self.still:
            super().tick()


class Bridge:
    """The plugin's publisher, as a client of the broker with paho's thread below it; comes back whenever it can.

    A plugin starts with its broker: each time that the bridge is connected anew, the plugin is started anew. The broker
    itself decides who may log in.
    """

    def __init__(self, reactor: IReactorFromThreads, plugin: Plugin, mosquitto: Mosquitto) -> None:
        self._reactor = reactor
        self._plugin = plugin
        self._mosquitto = mosquitto
        self._started = False
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="the GX itself")
        self._client.tls_set(cert_reqs=ssl.CERT_NONE)
        self._client.tls_insecure_set(True)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_pre_connect = lambda *_: self._client.username_pw_set(mosquitto.username, mosquitto.password)
        self._client.on_connect = self._connected
        self._client.on_message = lambda _client, _data, message: reactor.callFromThread(
            plugin.received, message.topic, message.payload
        )

    def start(self) -> None:
        """Connect, now or when the broker is there."""
        self._client.connect_async(HOST, self._mosquitto.port)
        self._client.loop_start()

    def stop(self) -> None:
        """Be gone, as the plugin of a GX whose broker runs without it."""
        self._client.disconnect()
        self._client.loop_stop()
        if self._started:
            self._started = False
            self._plugin.stop()

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """What the plugin says; lost while there is no broker."""
        self._client.publish(topic, payload, retain=retain)

    def drop_clients(self) -> None:
        """That is the broker's to do."""

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if not reason.is_failure:
            client.subscribe([("R/#", 0), ("W/#", 0)])
            self._reactor.callFromThread(self._restart)

    def _restart(self) -> None:
        if self._started:
            self._plugin.restart()
        else:
            self._started = True
            self._plugin.start(self)
