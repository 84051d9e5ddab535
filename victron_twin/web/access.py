"""Who may ask: checked once, before any route.

- The Host must be a name of this machine or an IP address. A page of the wide web that makes its own name point to this
  machine (DNS rebinding) comes with that name.
- An Origin must be ours. Browsers send one with everything that another site's page posts or reads, and nobody else
  needs to.
- What is not a mere reading (GET, HEAD, OPTIONS) needs the token, unless access is open. It comes as a bearer token or
  as the access key id of an AWS signature, so that AWS clients work unchanged; the signature itself proves nothing here
  and is not looked at.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from twisted.web import http
from twisted.web.resource import IResource, Resource, getChildForRequest
from twisted.web.server import Request, Site

from victron_twin import files
from victron_twin.state import StateError

from .body import BoundedRequest
from .errors import refuse

READING = (b"GET", b"HEAD", b"OPTIONS")
CREDENTIALS = re.compile(r"(?:Bearer +|AWS4-[A-Z0-9-]+ +(?:.*[ ,])?Credential=)([^\s/,]+)", re.IGNORECASE)
MIN_TOKEN = 16


class Access:
    """The rules of one server. ``token`` is None where access is open; ``hostname`` is the machine's own."""

    def __init__(self, token: str | None, hostname: str = "localhost") -> None:
        self._token = token
        short = hostname.lower().partition(".")[0]
        self._names = {"localhost", hostname.lower(), short, f"{short}.local"}

    def refusal(self, request: Request) -> tuple[int, str] | None:
        """Status and reason where the request is not to be answered."""
        host = _only(request, b"host")
        if host is None or not self._is_ours(host):
            return 403, f"Forbidden: {host or 'no host'} is not a name of this machine; use localhost or its IP address"
        if request.requestHeaders.hasHeader(b"origin"):
            origin = _only(request, b"origin")
            if origin not in (f"http://{host}", f"https://{host}"):
                return 403, f"Forbidden: the page at {origin} is another site's"
        if request.method in READING or self._token is None:
            return None
        given = CREDENTIALS.match(_only(request, b"authorization") or "")
        if given is None:
            return 401, "Unauthorized: send the token in the state folder as bearer token or as AWS access key id"
        if not hmac.compare_digest(given[1].encode(), self._token.encode()):
            return 401, "Unauthorized: this is not the token in the state folder"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class Guarded(Resource):
    """All resources behind the rules of :class:`Access`."""

    isLeaf = True

    def __init__(self, inner: IResource, access: Access) -> None:
        super().__init__()
        self._inner = inner
        self._access = access

    def render(self, request: Request) -> bytes | int:
        refusal = self._access.refusal(request)
        if refusal is not None:
            return refuse(request, *refusal)
        try:
            b"/".join(request.postpath or []).decode()
        except UnicodeDecodeError:
            # klein would log a failure for each.
            return refuse(request, 400, "The path is not UTF-8")
        return getChildForRequest(self._inner, request).render(request)  # type: ignore[no-any-return]  # untyped


class _QuietSite(Site):
    """Neither its start and stop nor each request is worth a line."""

    noisy = False

    def log(self, request: http.Request) -> None:
        pass


def guarded_site(inner: IResource, access: Access) -> Site:
    """What to listen with: the rules before every route, and no body without bound."""
    return _QuietSite(Guarded(inner, access), requestFactory=BoundedRequest)


def load_token(path: Path) -> str:
    """The token in the file, made (mode 0600) where there is none. Raises StateError."""
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        token = secrets.token_hex(20)
        files.write(path, f"{token}\n".encode())
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read ({error}): remove it, and it is made anew") from None
    # An access key id has word characters only; a short one could be guessed.
    if len(token) < MIN_TOKEN or not re.fullmatch(r"\w+", token, re.ASCII):
        raise StateError(f"{path} must hold {MIN_TOKEN} or more letters and digits: remove it, and it is made anew")
    return token


def _only(request: Request, header: bytes) -> str | None:
    """A header's value where it stands there exactly once, lower case but for the authorization."""
    values = request.requestHeaders.getRawHeaders(header, [])
    if len(values) != 1:
        return None
    value = values[0].decode("ascii", "replace").strip()
    return value if header == b"authorization" else value.lower()
