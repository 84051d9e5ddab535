"""The configuration: layers and their order, forms of values, errors that say what to mend, secrets that stay so."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.python import usage

from victron_twin.config import Config, ConfigError, Secret, read_password
from victron_twin.config.keys import KEYS, option_flags, option_parameters
from victron_twin.config.layers import Raw

PIN = "ab" * 32


def load(
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    component: Mapping[str, Any] | None = None,
    *,
    folder: Path = Path("/nowhere"),
) -> Config:
    return Config.load(options or {}, environ or {}, component, folder=folder)


@pytest.fixture
def from_file(tmp_path: Path) -> Callable[..., Config]:
    """Load with a file that holds the text, other layers beside it."""

    def load_file(content: str, **layers: Any) -> Config:
        file = tmp_path / "twin.toml"
        file.write_text(content)
        file.chmod(0o600)
        options = {"config": str(file), **layers.pop("options", {})}
        return load(options, folder=tmp_path, **layers)

    return load_file


class TestDefaults:
    def test_nothing_given(self) -> None:
        config = load()
        (gx,) = config.gx
        assert (gx.host, gx.port, gx.portal_id, gx.trust) == ("venus.local", 8883, None, "tofu")
        assert (gx.username, gx.password, gx.password_file, gx.password_secret) == (None, None, None, None)
        assert (gx.connect_timeout, gx.max_retries, gx.thing_name, gx.primary) == (30.0, None, None, {})
        cadence = config.cadence
        assert (cadence.critical, cadence.normal, cadence.slow, cadence.batch) == (1.0, 10.0, 60.0, 10.0)
        assert (config.thing_name, config.backend) == ("victron-twin", "auto")
        assert (config.http, config.manhole, config.manhole_keys) == ("tcp:8480:interface=127.0.0.1", None, None)
        assert (config.include, config.exclude) == ((), ())
        assert (config.commands.mode, config.commands.allow, config.commands.deny) == ("allow-list", (), ())
        assert (config.log_level, config.log_format, config.demo) == ("info", "human", False)
        assert config.state_dir.name == "victron-twin"
        assert config.warnings == ()

    def test_plaintext_has_its_own_port(self) -> None:
        assert load(environ={"VICTRON_TRUST": "plaintext"}).gx[0].port == 1883
        assert load(environ={"VICTRON_TRUST": "plaintext", "VICTRON_PORT": "2883"}).gx[0].port == 2883

    def test_greengrass_keeps_its_state_in_the_work_folder(self) -> None:
        assert load(environ={"SVCUID": "abc"}, folder=Path("/gg/work/twin")).state_dir == Path("/gg/work/twin")
        given = {"SVCUID": "abc", "VICTRON_TWIN_STATE_DIR": "/x"}
        assert load(environ=given, folder=Path("/gg/work/twin")).state_dir == Path("/x")

    def test_it_is_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            load().http = "tcp:1"  # type: ignore[misc]


class TestPrecedence:
    def test_each_layer_over_the_next(self, from_file: Callable[..., Config]) -> None:
        layers: dict[str, Any] = {}
        assert from_file('backend = "local"', **layers).backend == "local"
        layers["component"] = {"backend": "greengrass"}
        assert from_file('backend = "local"', **layers).backend == "greengrass"
        layers["environ"] = {"VICTRON_TWIN_BACKEND": "iotcore", "VICTRON_HOST": "a"}
        with pytest.raises(ConfigError, match=r"iotcore\.endpoint"):
            from_file('backend = "local"', **layers)
        layers["options"] = {"backend": "greengrass-mqtt"}
        assert from_file('backend = "local"', **layers).backend == "greengrass-mqtt"

    def test_the_things_name_in_the_environment_only_replaces_the_default(
        self, from_file: Callable[..., Config]
    ) -> None:
        environ = {"AWS_IOT_THING_NAME": "core-device"}
        assert load(environ=environ).thing_name == "core-device"
        assert from_file('thing_name = "van"', environ=environ).thing_name == "van"
        assert load(environ=environ, component={"thing_name": "van"}).thing_name == "van"

    def test_an_empty_text_in_the_environment_is_not_set(self) -> None:
        assert load(environ={"VICTRON_HOST": "", "VICTRON_PORT": "", "AWS_IOT_THING_NAME": ""}) == load()

    def test_blanks_and_nulls_of_a_component_are_not_set(self) -> None:
        component = {"gx": {"host": "", "port": None}, "accessControl": {"aws.greengrass.ShadowManager": {}}}
        assert load(component=component) == load()

    def test_options_that_are_not_given(self) -> None:
        assert load({"gx-host": None, "demo": 0, "unrelated": "x"}) == load()

    def test_a_password_takes_the_lower_layers_password_file_away(
        self, from_file: Callable[..., Config], tmp_path: Path
    ) -> None:
        (tmp_path / "pw").write_text("old")
        config = from_file('gx.password_file = "pw"', environ={"VICTRON_MQTT_PASSWORD": "new"})
        assert config.gx[0].password == Secret("new")
        assert config.gx[0].password_file is None

    def test_the_file_is_named_by_the_environment_too(self, tmp_path: Path) -> None:
        (tmp_path / "a.toml").write_text('backend = "local"')
        (tmp_path / "b.toml").write_text('backend = "greengrass"')
        environ = {"VICTRON_TWIN_CONFIG": "a.toml"}
        assert load(environ=environ, folder=tmp_path).backend == "local"
        assert load({"config": "b.toml"}, environ, folder=tmp_path).backend == "greengrass"


class TestSpellings:
    """The names of the component that this one replaces."""

    ENVIRONMENT: Mapping[str, str] = {
        "VICTRON_HOST": "192.0.2.7",
        "VICTRON_VRM_ID": "c0619ab12cd3",
        "VICTRON_MQTT_USERNAME": "u",
        "VICTRON_MQTT_PASSWORD": "secret",
        "AWS_IOT_THING_NAME": "pitu-caleya",
        "UPDATE_FREQUENCY": "5000",
        "BATCH_TIMEOUT": "2500",
    }

    @pytest.mark.parametrize("layer", ["environ", "component", "file"])
    def test_the_environments(self, layer: str, from_file: Callable[..., Config]) -> None:
        if layer == "file":
            config = from_file("\n".join(f'{name} = "{value}"' for name, value in self.ENVIRONMENT.items()))
        else:
            config = load(**{layer: self.ENVIRONMENT})  # type: ignore[arg-type]
        (gx,) = config.gx
        assert (gx.host, gx.portal_id, gx.username) == ("192.0.2.7", "c0619ab12cd3", "u")
        assert gx.password == Secret("secret")
        assert config.thing_name == "pitu-caleya"
        assert (config.cadence.normal, config.cadence.batch) == (5.0, 2.5)

    COMPONENT: Mapping[str, Any] = {
        "connectionTimeout": 15000,
        "maxRetries": 10,
        "updateFrequency": 20000,
        "supportedNamespaces": ["battery", "solarcharger", "vebus", "system", "gps", "settings"],
        "security": {"tlsEnabled": True, "certificateValidation": False},
    }

    def check(self, config: Config) -> None:
        (gx,) = config.gx
        assert (gx.connect_timeout, gx.max_retries, gx.trust, gx.port) == (15.0, 10, "tofu", 8883)
        assert config.cadence.normal == 20.0
        assert config.include[:2] == ("battery/*", "solarcharger/*")

    def test_the_components(self) -> None:
        self.check(load(component=self.COMPONENT))

    def test_the_components_where_scalars_come_as_texts(self) -> None:
        self.check(
            load(
                component={
                    "connectionTimeout": "15000",
                    "maxRetries": "10",
                    "updateFrequency": "20000",
                    "supportedNamespaces": "battery, solarcharger",
                    "security": {"tlsEnabled": "true", "certificateValidation": "false"},
                }
            )
        )

    def test_the_components_in_a_file(self, from_file: Callable[..., Config]) -> None:
        self.check(
            from_file("""
                updateFrequency = 20000
                supportedNamespaces = ["battery", "solarcharger"]
                [gx]
                connectionTimeout = 15000
                maxRetries = 10
                [security]
                tlsEnabled = true
                certificateValidation = false
            """)
        )

    @pytest.mark.parametrize(
        ("security", "trust"),
        [
            ({"tlsEnabled": False, "certificateValidation": False}, "plaintext"),
            ({"tlsEnabled": True, "certificateValidation": True}, "system"),
            ({"certificateValidation": True}, "system"),
            ({"certificateValidation": False}, "tofu"),
            ({"tlsEnabled": True}, "tofu"),
        ],
    )
    def test_security(self, security: Mapping[str, bool], trust: str) -> None:
        assert load(component={"security": security}).gx[0].trust == trust

    def test_security_with_a_trust_that_agrees(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("x")
        component = {"security": {"tlsEnabled": True, "certificateValidation": True}, "gx": {"trust": "ca:ca.pem"}}
        assert load(component=component, folder=tmp_path).gx[0].trust == f"ca:{tmp_path}/ca.pem"

    @pytest.mark.parametrize(
        ("security", "trust"),
        [
            ({"certificateValidation": True}, "insecure"),
            ({"certificateValidation": True}, "tofu"),
            ({"tlsEnabled": True}, "plaintext"),
            ({"tlsEnabled": False}, "system"),
        ],
    )
    def test_security_never_ends_up_weaker_than_it_says(self, security: Mapping[str, bool], trust: str) -> None:
        with pytest.raises(ConfigError, match=r"gx\.trust: .* contradicts security\."):
            load(component={"security": security, "gx": {"trust": trust}})

    def test_a_yaml_off_is_false(self) -> None:
        assert load(component={"commands": {"mode": False}}).commands.mode == "off"


class TestForms:
    @pytest.mark.parametrize(
        ("environ", "value"),
        [
            ({"VICTRON_PORT": "8884"}, 8884),
            ({"VICTRON_PORT": " 8884 "}, 8884),
            ({"VICTRON_PORT": "8884.0"}, 8884),
        ],
    )
    def test_ports(self, environ: Mapping[str, str], value: int) -> None:
        assert load(environ=environ).gx[0].port == value

    @pytest.mark.parametrize("host", ["venus.local", "192.168.1.20", "fe80::1", "gx_1"])
    def test_hosts(self, host: str) -> None:
        assert load({"gx-host": host}).gx[0].host == host

    def test_an_ipv6_address_in_brackets(self) -> None:
        assert load({"gx-host": "[fe80::1]"}).gx[0].host == "fe80::1"

    def test_pins(self) -> None:
        colons = ":".join(["AB"] * 32)
        assert load({"gx-trust": f"pin:{colons}"}).gx[0].trust == f"pin:{PIN}"

    def test_a_ca_is_found_from_where_the_file_stands(self, from_file: Callable[..., Config], tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("x")
        assert from_file('gx.trust = "ca:ca.pem"').gx[0].trust == f"ca:{tmp_path / 'ca.pem'}"

    def test_lists(self, from_file: Callable[..., Config]) -> None:
        config = from_file('include = ["battery/*"]\nexclude = "gps/*, tank/*"\ncommands.deny = []')
        assert config.include == ("battery/*",)
        assert config.exclude == ("gps/*", "tank/*")
        assert config.commands.deny == ()

    def test_primaries(self, from_file: Callable[..., Config]) -> None:
        assert from_file("gx.primary.battery = 256\ngx.primary.gps = 0").gx[0].primary == {"battery": 256, "gps": 0}
        assert load(component={"gx": {"primary": {"vebus": "276"}}}).gx[0].primary == {"vebus": 276}

    def test_paths_are_absolute(self, from_file: Callable[..., Config], tmp_path: Path) -> None:
        assert from_file('state_dir = "state"').state_dir == tmp_path / "state"
        assert load({"state-dir": "~/x"}).state_dir == Path.home() / "x"

    @pytest.mark.parametrize("word", ["1", "true", "Yes", "on"])
    def test_demo_in_the_environment(self, word: str) -> None:
        assert load(environ={"VICTRON_TWIN_DEMO": word}).demo is True

    def test_aws_iot_core(self, from_file: Callable[..., Config], tmp_path: Path) -> None:
        for name in ("cert.pem", "key.pem"):
            (tmp_path / name).touch(0o600)
        config = from_file("""
            [iotcore]
            endpoint = "abc-ats.iot.eu-central-1.amazonaws.com"
            certificate = "cert.pem"
            key = "key.pem"
        """)
        assert config.iotcore.endpoint == "abc-ats.iot.eu-central-1.amazonaws.com"
        assert config.iotcore.key == tmp_path / "key.pem"
        assert config.iotcore.ca is None

    @pytest.mark.parametrize(
        "topic",
        [
            "audit",
            "fleet/{thing}/audit",
            "a/b/c/d/e/f/g/h",
            "ü" * 128,
            "{thing}" + "x" * 128,
            "$aws/rules/audit_1/{thing}",
            "$aws/rules/audit/a/b/c/d/e/f/g/h",
            "$aws/rules/audit/" + "x" * 256,
        ],
    )
    def test_a_topic(self, topic: str) -> None:
        assert load(component={"audit": {"topic": topic}}).audit.topic == topic


class TestErrors:
    """Each names the key, the value, where it stands and what is allowed."""

    @pytest.mark.parametrize(
        ("environ", "parts"),
        [
            ({"VICTRON_PORT": "abc"}, ["gx.port", "'abc'", "VICTRON_PORT in the environment", "from 1 to 65535"]),
            ({"VICTRON_PORT": "0"}, ["gx.port", "'0'", "from 1 to 65535"]),
            ({"VICTRON_PORT": "65536"}, ["gx.port", "from 1 to 65535"]),
            ({"VICTRON_PORT": "1e400"}, ["gx.port", "from 1 to 65535"]),
            ({"VICTRON_PORT": "88.5"}, ["gx.port", "from 1 to 65535"]),
            ({"VICTRON_HOST": "<CERBO-GX-IP-ADDRESS>"}, ["gx.host", "<CERBO", "a host name or an IP address"]),
            ({"VICTRON_HOST": "10.0.0.5:8883"}, ["gx.host", "gx.port"]),
            ({"VICTRON_HOST": "mqtt://venus.local"}, ["gx.host", "VICTRON_HOST"]),
            ({"VICTRON_VRM_ID": "<YOUR-VRM-INSTANCE-ID>"}, ["gx.portal_id", "letters and digits"]),
            ({"VICTRON_TRUST": "maybe"}, ["gx.trust", "'maybe'", "tofu", "plaintext"]),
            ({"VICTRON_TRUST": "pin:abc"}, ["gx.trust", "64 hex digits"]),
            ({"VICTRON_TRUST": "ca:/no/such.pem"}, ["gx.trust", "/no/such.pem: No such file"]),
            ({"AWS_IOT_THING_NAME": "my van"}, ["thing_name", "'my van'", "AWS_IOT_THING_NAME"]),
            ({"UPDATE_FREQUENCY": "0"}, ["cadence.normal", "UPDATE_FREQUENCY", "milliseconds above 0"]),
            ({"UPDATE_FREQUENCY": "nan"}, ["cadence.normal", "milliseconds above 0"]),
            ({"BATCH_TIMEOUT": "soon"}, ["cadence.batch", "'soon'", "BATCH_TIMEOUT"]),
            ({"VICTRON_TWIN_BACKEND": "cloud"}, ["backend", "'cloud'", "auto, greengrass, greengrass-mqtt"]),
            (
                {"VICTRON_TWIN_HTTP": "8480"},
                ["http", "'8480'", "Unknown endpoint type", "tcp:8480:interface=127.0.0.1"],
            ),
            ({"VICTRON_TWIN_HTTP": "tcp:http"}, ["http", "'http'"]),
            ({"VICTRON_TWIN_HTTP": "tcp:99999"}, ["http", "0 to 65535"]),
            ({"VICTRON_TWIN_HTTP": "tcp:1:interfce=::1"}, ["http", "arguments"]),
            ({"VICTRON_TWIN_MANHOLE": "tcp:4040"}, ["manhole_keys", "authorized_keys"]),
            ({"VICTRON_TWIN_COMMANDS": "some"}, ["commands.mode", "off, allow-list, all"]),
            ({"VICTRON_TWIN_LOG_LEVEL": "loud"}, ["log_level", "debug, info, warn"]),
            ({"VICTRON_TWIN_STATE_DIR": "~no-such-user/x"}, ["state_dir", "there is no such user"]),
            ({"VICTRON_TWIN_STATE_DIR": "a\0b"}, ["state_dir", "'a\\x00b'"]),
            ({"VICTRON_TWIN_DEMO": "perhaps"}, ["demo", "true or false"]),
            ({"VICTRON_TWIN_CONFIG": "~no-such-user/x"}, ["config", "there is no such user"]),
            ({"VICTRON_TWIN_CONFIG": "/no/such.toml"}, ["config", "/no/such.toml", "No such file"]),
        ],
    )
    def test_in_the_environment(self, environ: Mapping[str, str], parts: list[str]) -> None:
        with pytest.raises(ConfigError) as caught:
            load(environ=environ)
        for part in parts:
            assert part in str(caught.value)

    def test_on_the_command_line(self) -> None:
        with pytest.raises(ConfigError, match=r"gx\.port: 'x' \(--gx-port\)"):
            load({"gx-port": "x"})
        with pytest.raises(ConfigError, match=r"gx\.host: '' \(--gx-host\) cannot be used: it is empty"):
            load({"gx-host": ""})

    @pytest.mark.parametrize(
        ("content", "parts"),
        [
            ("gx.prot = 1", ["gx.prot", "is not a key", "did you mean gx.port?"]),
            ("[gx]\nhostname = 'x'", ["gx.hostname", "did you mean gx.host?"]),
            ("host = 'x'", ["host in ", "did you mean gx.host?"]),
            ("[cadense]\nnormal = 1", ["cadense", "is not a key"]),
            ("updatefrequency = 1000", ["updatefrequency", "did you mean updateFrequency?"]),
            ("zzzzzz = 1", ["zzzzzz", "is not a key"]),
            ("gx = 'venus.local'", ["gx: 'venus.local'", "is not a table"]),
            ("gx = []", ["gx: []", "[[gx]]"]),
            ("gx = [1]", ["gx: [1]", "[[gx]]"]),
            ("cadence = 10", ["cadence: 10", "is not a table"]),
            ("gx.portal_id = 123", ["gx.portal_id: 123", "put it in quotes"]),
            ("gx.port = true", ["gx.port: True", "from 1 to 65535"]),
            ("gx.port = [1]", ["gx.port: [1]", "from 1 to 65535"]),
            ("gx.primary.battery = -1", ["gx.primary.battery: -1", "0 or more"]),
            ("gx.primary.tank = 1", ["gx.primary.tank", "is not a key"]),
            ("include = [1]", ["include: [1]", "quotes"]),
            ("include = 1", ["include: 1", "list of patterns"]),
            ("supportedNamespaces = ['Battery Monitor']", ["include", "supportedNamespaces in", "service names"]),
            ("gx.password_file = 'absent'", ["gx.password_file: 'absent'", "No such file"]),
            ("gx.password_file = 'empty'", ["gx.password_file: 'empty'", "the file is empty"]),
            ("gx.password_secret = 'mine'", ["gx.password_secret: 'mine'", "ARN"]),
            ("manhole_keys = 'absent'", ["manhole_keys: 'absent'", "No such file"]),
            ("iotcore.endpoint = 'x'", ["iotcore.certificate is missing"]),
            ("gx.thing_name = 'x'", ["gx.thing_name: 'x'", "the first has thing_name"]),
            ("gx.username = 'a'\nVICTRON_MQTT_USERNAME = 'b'", ["gx.username is given twice"]),
            ("gx.password = 'a'\ngx.password_file = 'some'", ["given twice", "gx.password in", "gx.password_file in"]),
            ("cadence.normal = 10\nupdateFrequency = 10000", ["cadence.normal is given twice", "updateFrequency"]),
            ("gx.host = ", ["config: ", "is not TOML"]),
        ],
    )
    def test_in_a_file(self, content: str, parts: list[str], from_file: Callable[..., Config], tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        (tmp_path / "some").write_text("x")
        with pytest.raises(ConfigError) as caught:
            from_file(content)
        for part in [*parts, "" if "missing" in parts[0] else "twin.toml"]:
            assert part in str(caught.value)

    @pytest.mark.parametrize(
        ("topic", "part"),
        [
            (" ", "it is empty"),
            ("fleet/+/audit", "without wildcards"),
            ("fleet/#", "without wildcards"),
            ("a\0b", "without wildcards (+ and #) and control characters"),
            ("$aws/things/van/shadow/update", "only $aws/rules/<rule>/<topic> may begin"),
            ("$aws/rules/audit", "only $aws/rules/<rule>/<topic> may begin"),
            ("$aws/rules/{thing}/audit", "only $aws/rules/<rule>/<topic> may begin"),
            ("$SYS/audit", "only $aws/rules/<rule>/<topic> may begin"),
            ("fleet/{Thing}/audit", "the only word in braces is {thing}"),
            ("x" * 257, "it has 257 bytes, with a thing's name of 128; 256 are allowed"),
            ("{thing}" + "x" * 129, "it has 257 bytes"),
            ("a/b/c/d/e/f/g/h/i", "it has 8 slashes; 7 are allowed"),
            (7, "it must be text"),
        ],
    )
    def test_a_topic(self, topic: Any, part: str, from_file: Callable[..., Config]) -> None:
        with pytest.raises(ConfigError) as caught:
            from_file(f"[audit]\ntopic = {json.dumps(topic)}\n")
        assert part in str(caught.value)
        assert str(caught.value).startswith("audit.topic: ")

    def test_a_file_that_is_not_text(self, tmp_path: Path) -> None:
        (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigError, match="is not TOML"):
            load({"config": "x.toml"}, folder=tmp_path)
        with pytest.raises(ConfigError, match="Is a directory"):
            load({"config": "."}, folder=tmp_path)

    def test_a_long_value_is_cut(self) -> None:
        with pytest.raises(ConfigError) as caught:
            load({"gx-port": "9" * 5000})
        assert len(str(caught.value)) < 250

    @given(st.dictionaries(st.sampled_from([k.option for k in KEYS if k.option and not k.flag]), st.text()))
    def test_any_text_is_used_or_refused(self, options: dict[str, str]) -> None:
        with contextlib.suppress(ConfigError):
            assert load(options).gx

    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )

    @given(
        st.dictionaries(st.sampled_from(sorted({"gx", "security", *(n for k in KEYS for n in k.names)})), JSON)
        | st.fixed_dictionaries(
            {},
            optional={"gx": st.dictionaries(st.sampled_from(["host", "port", "trust", "primary", "password"]), JSON)},
        )
    )
    def test_any_tree_is_used_or_refused(self, component: dict[str, Any]) -> None:
        with contextlib.suppress(ConfigError):
            assert load(component=component).gx


class TestSeveral:
    TWO = """
        connectionTimeout = 5000
        [[gx]]
        host = "10.0.0.1"
        portal_id = "aaa"
        [[gx]]
        host = "10.0.0.2"
        trust = "plaintext"
        thing_name = "cabin"
        connect_timeout = 7
        primary = {battery = 3}
    """

    def test_two(self, from_file: Callable[..., Config]) -> None:
        first, second = from_file(self.TWO).gx
        assert (first.host, first.port, first.connect_timeout, first.thing_name) == ("10.0.0.1", 8883, 5.0, None)
        assert (second.host, second.port, second.connect_timeout) == ("10.0.0.2", 1883, 7.0)
        assert (second.thing_name, second.primary) == ("cabin", {"battery": 3})

    def test_options_and_environment_speak_of_the_first(self, from_file: Callable[..., Config]) -> None:
        config = from_file(self.TWO, options={"gx-port": "9"}, environ={"VICTRON_MQTT_PASSWORD": "x"})
        assert [gx.port for gx in config.gx] == [9, 1883]
        assert [gx.password for gx in config.gx] == [Secret("x"), None]

    def test_a_list_replaces_the_lower_layers(self, from_file: Callable[..., Config]) -> None:
        config = from_file(self.TWO, component={"gx": [{"host": "10.0.0.9"}]})
        (gx,) = config.gx
        assert (gx.host, gx.portal_id) == ("10.0.0.9", None)

    @pytest.mark.parametrize(
        ("second", "message"),
        [
            ('host = "10.0.0.1"', r"gx\.host: '10\.0\.0\.1:8883' is given for two GX"),
            ('host = "b"\nportal_id = "aaa"', r"gx\.portal_id: 'aaa' is given for two GX"),
            ('host = "b"\nthing_name = "victron-twin"', r"gx\.thing_name: 'victron-twin' is given for two GX"),
            ('host = "b"\nport = "x"', r"gx\.port: 'x' \(gx\.port in .*twin\.toml, \[\[gx\]\] number 2\)"),
            ('host = "b"\nprt = "x"', r"gx\.prt in .*, \[\[gx\]\] number 2 is not a key; did you mean gx\.port\?"),
        ],
    )
    def test_errors(self, second: str, message: str, from_file: Callable[..., Config]) -> None:
        with pytest.raises(ConfigError, match=message):
            from_file(f'[[gx]]\nhost = "10.0.0.1"\nportal_id = "aaa"\n[[gx]]\n{second}')


class TestSecrets:
    def test_never_shown(self) -> None:
        config = load(environ={"VICTRON_MQTT_PASSWORD": "hunter2"})
        (gx,) = config.gx
        assert gx.password is not None
        assert gx.password.reveal() == "hunter2"
        for shown in (repr(config), str(config), f"{gx.password}", repr(gx.password), str(dataclasses.asdict(config))):
            assert "hunter2" not in shown

    @pytest.mark.parametrize("value", [424242, ["424242"], {"a": "424242"}])
    def test_not_in_an_error(self, value: Any) -> None:
        with pytest.raises(ConfigError) as caught:
            load(component={"gx": {"password": value}})
        assert "gx.password" in str(caught.value)
        assert "424242" not in str(caught.value)
        # Not even in a traceback that shows what chained errors and the layers hold.
        assert "424242" not in "".join(traceback.format_exception(caught.value))
        assert "424242" not in repr(Raw(value, KEYS[4], KEYS[4].form, "", Path()))

    def test_a_password_file(self, tmp_path: Path) -> None:
        file = tmp_path / "pw"
        file.write_bytes("pass wörd \n".encode())
        file.chmod(0o600)
        config = load(component={"gx": {"password_file": "pw"}}, folder=tmp_path)
        assert config.gx[0].password is None
        assert config.gx[0].password_file == file
        assert read_password(file) == Secret("pass wörd ")
        assert config.warnings == ()

    def test_a_password_of_blanks_is_one(self) -> None:
        assert load(environ={"VICTRON_MQTT_PASSWORD": " "}).gx[0].password == Secret(" ")


class TestWarnings:
    def test_files_that_others_can_read(self, tmp_path: Path) -> None:
        (tmp_path / "pw").write_text("x")
        (tmp_path / "twin.toml").write_text('gx.password_file = "pw"')
        for name in ("pw", "twin.toml"):
            (tmp_path / name).chmod(0o644)
        warnings = load({"config": "twin.toml"}, folder=tmp_path).warnings
        assert warnings == (
            f"config: others can read {tmp_path}/twin.toml: chmod o-r {tmp_path}/twin.toml",
            f"gx.password_file: others can read {tmp_path}/pw: chmod o-r {tmp_path}/pw",
        )

    def test_names_in_the_environment_that_are_none_of_ours(self) -> None:
        (warning,) = load(environ={"VICTRON_HOTS": "x"}).warnings
        assert warning == "VICTRON_HOTS in the environment is not known and has no effect; did you mean VICTRON_HOST?"

    def test_cadences_that_look_like_another_unit(self) -> None:
        (warning,) = load(environ={"UPDATE_FREQUENCY": "10"}).warnings
        assert "cadence.normal is 0.01 s (UPDATE_FREQUENCY in the environment)" in warning
        (warning,) = load(component={"cadence": {"slow": 60000}}).warnings
        assert "cadence.slow is 60000 s" in warning


class TestOptions:
    def test_they_make_twisted_options(self) -> None:
        class Options(usage.Options):
            optParameters = option_parameters()
            optFlags = option_flags()

        options = Options()
        given = ["--gx-host", "10.0.0.5", "--demo", "--http", "tcp:0", "--state-dir", "s"]
        options.parseOptions(given)
        config = load(options)
        assert (config.gx[0].host, config.demo, config.http) == ("10.0.0.5", True, "tcp:0")
        assert config.state_dir == Path("/nowhere/s")
        assert "--portal-id=" in options.getUsage()

    def test_names_are_unique(self) -> None:
        names = [name for key in KEYS for name in key.names]
        assert len(names) == len(set(names))
