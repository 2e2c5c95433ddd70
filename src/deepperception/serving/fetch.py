"""Pictures by address, from where an allow-list says so and from nowhere else.

Who may name an address could make the server ask its own neighbours: a cloud's metadata, the object store, localhost.
So a host must be on the list, all its addresses must be public, the connection goes to the very address that was
checked, and every redirect passes the same way.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from deepperception.errors import InputError
from deepperception.serving.limits import IMPOSSIBLE, TOO_LARGE, Refusal

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 3
_CHUNK = 64 * 1024
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Origin:
    """A scheme, a host and a port; `*.` in front of the host stands for one or more labels."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read an entry of the allow-list, such as https://photos.example.org or https://*.example.org:8443."""
        try:
            parts = urlsplit(text)
            port = parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            raise _no_entry(text) from None
        host = (parts.hostname or "").rstrip(".")
        plain = host.removeprefix("*.")
        if not plain or "*" in plain or parts.path.strip("/") or parts.query or parts.username is not None:
            raise _no_entry(text)
        return cls(parts.scheme, host, port)

    def allows(self, scheme: str, host: str, port: int) -> bool:
        if (scheme, port) != (self.scheme, self.port):
            return False
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host


def resolve(host: str, port: int) -> list[str]:
    """All addresses that the name has now."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Fetcher:
    """Fetches pictures from allowed origins; a fault is a Refusal in one sentence that tells nothing of the inside."""

    def __init__(
        self, allowed: Sequence[Origin], *, max_bytes: int, timeout_s: float = 10.0, resolve: Resolve = resolve
    ) -> None:
        self._allowed, self._max_bytes, self._timeout_s, self._resolve = tuple(allowed), max_bytes, timeout_s, resolve
        self._tls = ssl.create_default_context()

    def fetch(self, url: str, where: str) -> bytes:
        """The bytes behind `url`; `where` names it in errors."""
        deadline = time.monotonic() + self._timeout_s
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                content, moved = self._ask(url, where, deadline)
                if moved is None:
                    return content
                url = urljoin(url, moved)
        except (OSError, http.client.HTTPException, ValueError):
            raise Refusal(
                IMPOSSIBLE, f"{where}: the picture's address does not answer with it; send the picture itself."
            ) from None
        raise Refusal(IMPOSSIBLE, f"{where}: the picture's address moves on and on; send the picture itself.")

    def _ask(self, url: str, where: str, deadline: float) -> tuple[bytes, str | None]:
        """The content, or where it has moved to."""
        scheme, host, port, target = self._checked(url, where)
        connection = self._connection(scheme, host, port, self._address(host, port, where), deadline)
        sock = connection.sock  # http.client forgets it once an answer says that it is the last
        try:
            connection.request("GET", target, headers={"accept": "image/*", "accept-encoding": "identity"})
            with connection.getresponse() as response:
                if response.status in _REDIRECTS and (moved := response.getheader("location")):
                    return b"", moved
                packed = response.getheader("content-encoding", "identity") != "identity"
                if response.status != http.HTTPStatus.OK or packed:
                    raise ValueError
                return self._content(response, sock, where, deadline), None
        finally:
            connection.close()

    def _checked(self, url: str, where: str) -> tuple[str, str, int, str]:
        forbidden = Refusal(
            IMPOSSIBLE, f"{where}: pictures are not fetched from this address; send the picture itself."
        )
        if not url.isascii() or any(sign <= " " or sign in "\\\x7f" for sign in url):
            raise forbidden
        try:
            parts = urlsplit(url)
            port = parts.port if parts.port is not None else _PORTS[parts.scheme]
        except (ValueError, KeyError):
            raise forbidden from None
        host = (parts.hostname or "").rstrip(".")
        if parts.username is not None or parts.password is not None:
            raise forbidden
        if not any(origin.allows(parts.scheme, host, port) for origin in self._allowed):
            raise forbidden
        return parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def _address(self, host: str, port: int, where: str) -> str:
        """One address of the host; refused where any of them is not public, for the next answer may be that one."""
        found = self._resolve(host, port)
        literal = _literal(host)
        for text in found:
            address = ipaddress.ip_address(text.partition("%")[0])
            # An address that the list names as such was meant. Never those of a cloud's metadata.
            named = literal is not None and address == literal and not address.is_link_local
            if not named and not is_public(address):
                raise Refusal(
                    IMPOSSIBLE, f"{where}: pictures are not fetched from this address; send the picture itself."
                )
        if not found:
            raise OSError(f"{host} has no address")
        return found[0]

    def _connection(
        self, scheme: str, host: str, port: int, address: str, deadline: float
    ) -> http.client.HTTPConnection:
        plain = socket.create_connection((address, port), timeout=_left(deadline))
        connection = http.client.HTTPConnection(host, port)
        try:
            connection.sock = self._tls.wrap_socket(plain, server_hostname=host) if scheme == "https" else plain
        except OSError:
            plain.close()
            raise
        connection.default_port = _PORTS[scheme]
        return connection

    def _content(self, response: http.client.HTTPResponse, sock: socket.socket, where: str, deadline: float) -> bytes:
        chunks, size = [], 0
        # read1: what has arrived. A server that sends a byte now and then would else hold the thread.
        while chunk := response.read1(_CHUNK):
            size += len(chunk)
            if size > self._max_bytes:
                sentence = f"{where}: the picture is larger than {self._max_bytes:,} bytes; send a smaller one."
                raise Refusal(TOO_LARGE, sentence)
            chunks.append(chunk)
            sock.settimeout(_left(deadline))
        return b"".join(chunks)


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet, looked at through the forms that hide an IPv4 address."""
    if isinstance(address, ipaddress.IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if hidden is None and address in _NAT64:
            hidden = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if hidden is not None:
            return is_public(hidden)
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _no_entry(text: str) -> InputError:
    return InputError(f"--allow-url {text}: give scheme and host, such as https://photos.example.org.")
