"""What a user can set: command line, environment, Greengrass and a file, made into one frozen value.

``keys`` is the table of it all, ``forms`` says what values may look like, ``layers`` reads the places where they
stand, ``model`` is the result.
"""

from .layers import ConfigError
from .model import AuditConfig, CadenceConfig, CommandsConfig, Config, GXConfig, IoTCoreConfig
from .secret import Secret, read_password

__all__ = [
    "AuditConfig",
    "CadenceConfig",
    "CommandsConfig",
    "Config",
    "ConfigError",
    "GXConfig",
    "IoTCoreConfig",
    "Secret",
    "read_password",
]
