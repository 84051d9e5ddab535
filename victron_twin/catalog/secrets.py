"""What a GX shows in clear and nobody should find in a shadow or in a recording."""

from __future__ import annotations

import re

_SECRETS = re.compile(
    r"/(LoadSheddingApi/Token|Vrmlogger/Http/Proxy|Security/Api|Tokens/.*|Network/SetValue|Modem/PIN"
    r"|.*(password|pincode|passphrase|apikey|privatekey|secret).*)$",
    re.IGNORECASE,
)


def is_secret(path: str) -> bool:
    """Whether a D-Bus path, or a topic that ends in one, holds a secret."""
    return _SECRETS.search(path) is not None
