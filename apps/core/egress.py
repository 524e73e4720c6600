"""The one way out: fetches an address that a person or a provider named.

https only; a host that the installation allows (EGRESS_ALLOWED_HOSTS); looked up once, and connected to the very address that was judged,
which is a public one unless EGRESS_ALLOWED_NETWORKS names its network. No redirects, no proxy, no cookies, no login in the address; one limit
of time for all of it, and one of size.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import httpcore
import httpx
from django.conf import settings

from apps.core.domain.destinations import Address, Destination, Refused, allowed, named_in, networks, raw_host, read, safe

Resolver = Callable[[str, int], Sequence[str]]
Why = Literal["unknown_host", "refused", "timeout", "tls", "too_large", "broken"]
SAID: dict[Why, str] = {
    "unknown_host": "its name is not known",
    "refused": "it takes no connection",
    "timeout": "it did not answer in time",
    "tls": "its certificate or its TLS is not valid",
    "too_large": "its answer is too long",
    "broken": "it does not speak HTTP as it should",
}


@dataclass(eq=False)
class EgressRefused(Exception):  # noqa: N818 -- a refusal of ours, not a fault
    """The installation does not let the portal go there. `detail` is for whoever set the address, `setting` the one that would allow it."""

    detail: str
    setting: str = ""

    def __str__(self) -> str:
        return self.detail


@dataclass(eq=False)
class EgressFailed(Exception):  # noqa: N818
    """The other side is away or answers nonsense. Says nothing of what it sent."""

    why: Why

    def __str__(self) -> str:
        return SAID[self.why]


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is what was asked for of it, as it came (no compression is asked for)."""

    status: int
    body: bytes


def destination(url: str) -> Destination:
    """The parts of an address that the settings allow; its name is not looked up yet. Raises EgressRefused."""
    try:
        found = read(url, ascii_host=_idna(raw_host(url)))
    except Refused as refusal:
        raise EgressRefused(f"The address is not taken: {refusal}.") from None
    if found.scheme != "https" and not settings.EGRESS_ALLOW_HTTP:
        raise EgressRefused("The address must begin with https://.")
    if not settings.EGRESS_ALLOWED_HOSTS:
        raise EgressRefused(
            "This installation calls no address outside: EGRESS_ALLOWED_HOSTS is empty. Its operator sets it.", "EGRESS_ALLOWED_HOSTS"
        )
    if not allowed(found, settings.EGRESS_ALLOWED_HOSTS):
        shown = found.authority[:100]
        raise EgressRefused(
            f"This installation does not call '{shown}': its operator adds the host to EGRESS_ALLOWED_HOSTS.", "EGRESS_ALLOWED_HOSTS"
        )
    return found


def _idna(host: str) -> str | None:
    """A name of other letters as the resolver and the certificate have it; None where the name is ASCII, or none at all."""
    if host.isascii():
        return None
    try:
        return httpx.URL(f"https://{host}/").raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        raise EgressRefused("The address is not taken: its host is not a name.") from None


def system_resolver(host: str, port: int) -> Sequence[str]:
    """Raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def fetch(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    connect_s: float = 5.0,
    total_s: float = 10.0,
    max_bytes: int = 1024 * 1024,
    resolver: Resolver = system_resolver,
) -> Answer:
    """One request and its answer, whatever its status; a redirect is an answer like another. With `max_bytes` 0 the body stays unread.

    `total_s` seconds for everything from the look-up to the last byte. Raises EgressRefused, EgressFailed.
    """
    to = destination(url)
    deadline = time.monotonic() + total_s
    addresses = _judged(to, _looked_up(to, resolver, min(connect_s, total_s)))
    backend, trusted = _Pinned(addresses, deadline, connect_s), _tls(settings.EGRESS_CA_FILE)
    usual = [("Host", to.authority), ("Accept-Encoding", "identity"), ("Connection", "close")]
    sent = [*usual, *(headers or {}).items()]
    try:
        with httpcore.ConnectionPool(ssl_context=trusted, network_backend=backend, max_connections=1, retries=0) as pool:
            target = httpcore.URL(scheme=to.scheme, host=to.host, port=to.port, target=to.target)
            with pool.stream(method, target, headers=sent, content=content) as response:
                return Answer(response.status, _body(response.iter_stream(), max_bytes))
    except (httpcore.ConnectTimeout, httpcore.ReadTimeout, httpcore.WriteTimeout, httpcore.PoolTimeout):
        raise EgressFailed("timeout") from None
    except ssl.SSLError:
        raise EgressFailed("tls") from None
    except httpcore.ConnectError as error:
        raise EgressFailed("tls" if _is_tls(error) else "refused") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError):
        raise EgressFailed("broken") from None


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _body(parts: Iterable[bytes], max_bytes: int) -> bytes:
    body = b""
    if max_bytes:
        for part in parts:
            body += part
            if len(body) > max_bytes:
                raise EgressFailed("too_large")
    return body


def _looked_up(to: Destination, resolver: Resolver, seconds: float) -> list[Address]:
    """The addresses of the host, once. The system's look-up knows no limit of time, so that it is waited for only so long."""
    try:
        return [ipaddress.ip_address(to.host)]
    except ValueError:
        pass
    found: list[Sequence[str] | None] = []

    def look_up() -> None:
        try:
            found.append(resolver(to.host, to.port))
        except (OSError, UnicodeError):
            found.append(None)

    thread = threading.Thread(target=look_up, daemon=True, name="egress-resolver")
    thread.start()
    thread.join(seconds)
    if not found:
        raise EgressFailed("timeout")
    if not found[0]:
        raise EgressFailed("unknown_host")
    return [ipaddress.ip_address(each.partition("%")[0]) for each in dict.fromkeys(found[0])]


def _judged(to: Destination, addresses: list[Address]) -> list[str]:
    """The addresses as the socket takes them. One that is not safe spoils them all: whoever answers for the name answers for each."""
    named = networks(settings.EGRESS_ALLOWED_NETWORKS)
    if not all(safe(address, named) for address in addresses):
        raise EgressRefused(
            f"'{to.host}' leads to an address that is not public: its network is not in EGRESS_ALLOWED_NETWORKS.", "EGRESS_ALLOWED_NETWORKS"
        )
    # In the clear only within networks that the operator named.
    if to.scheme != "https" and not all(named_in(address, named) for address in addresses):
        raise EgressRefused("Outside the installation's own networks the address must begin with https://.", "EGRESS_ALLOWED_NETWORKS")
    return [str(address) for address in addresses]


@lru_cache(maxsize=4)
def _tls(ca_file: str) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError:
            raise EgressRefused("EGRESS_CA_FILE is not a file of certificates in PEM that can be read.", "EGRESS_CA_FILE") from None
    return context


class _Pinned(httpcore.NetworkBackend):
    """Connects to the addresses that were judged, whatever name it is asked for; TLS still asks for the name's certificate."""

    def __init__(self, addresses: Sequence[str], deadline: float, connect_s: float) -> None:
        self.addresses, self.deadline, self.connect_s = addresses, deadline, connect_s
        self.inner = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None, socket_options: Any = None
    ) -> httpcore.NetworkStream:
        until = min(self.deadline, time.monotonic() + self.connect_s)
        for waiting in range(len(self.addresses), 0, -1):
            share = _left(until, httpcore.ConnectTimeout) / waiting
            try:
                stream = self.inner.connect_tcp(self.addresses[-waiting], port, timeout=share, socket_options=socket_options)
                return _Stream(stream, self.deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if waiting == 1:
                    raise
        raise httpcore.ConnectError("no address")


class _Stream(httpcore.NetworkStream):
    """A connection on which every step ends at the one deadline, however slowly the other side drips."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self.inner, self.deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.inner.read(max_bytes, timeout=_left(self.deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.inner.write(buffer, timeout=_left(self.deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self.inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self.inner.start_tls(ssl_context, server_hostname=server_hostname, timeout=_left(self.deadline, httpcore.ConnectTimeout))
        return _Stream(secured, self.deadline)

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)


def _left(until: float, late: type[Exception]) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise late
    return left
