"""Where the portal may go when a person or a provider names an address: how it is read, which hosts are allowed, which addresses are safe.

An address is read once, here; everything after goes by the parts that were read, so that no second reader can see another host in it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS = {"https": 443, "http": 80}
MAX_URL = 2000
# An absolute address in plain ASCII but for its host; what browsers and libraries read in different ways (backslashes, blanks, logins) is refused.
_SHAPE = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>\[[^\]/?#@]*\]|[^:/?#@\[\]]*)(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?][^#]*)?"
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_TARGET = re.compile(r"[!-~]*")

# What some version of `ipaddress` calls global: the inside of a cloud, and blocks of special purpose.
_INSIDE = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24"),
        *("64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10"),
    )
)
# IPv6 addresses that carry an IPv4 address: as its last 32 bits, but for 6to4.
_CARRIERS = tuple(ipaddress.ip_network(each) for each in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96"))


class Refused(ValueError):  # noqa: N818 -- a refusal
    """Not a place to go; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Destination:
    """`host` is in lower case and ASCII, without brackets and without a dot at its end; `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def read(url: str, *, ascii_host: str | None = None) -> Destination:
    """The parts of an absolute http(s) address; `ascii_host` is its host as IDNA writes it, where it is not ASCII. Raises Refused."""
    match = _SHAPE.fullmatch(url) if len(url) <= MAX_URL and url.isprintable() and "\\" not in url and " " not in url else None
    if match is None:
        raise Refused("it is not an address of the form https://host/path, without a login and without a fragment")
    scheme = match["scheme"].lower()
    if scheme not in PORTS:
        raise Refused("it is not an https:// address")
    target = match["rest"] or "/"
    target = target if target.startswith("/") else f"/{target}"
    if not _TARGET.fullmatch(target):
        raise Refused("its path holds characters that have to be percent-encoded")
    port = int(match["port"]) if match["port"] else PORTS[scheme]
    if not 0 < port < 65536:
        raise Refused("its port does not exist")
    return Destination(scheme, host_name(match["host"] if ascii_host is None else ascii_host), port, target)


def raw_host(url: str) -> str:
    """The host as it is written, for IDNA; "" where there is none."""
    match = _SHAPE.fullmatch(url)
    return match["host"] if match else ""


def host_name(written: str) -> str:
    """A host in its one form. Raises Refused; for numbers in disguise (`2130706433`, `0x7f.1`, `127.1`) as well."""
    if written.startswith("["):
        try:
            return str(ipaddress.IPv6Address(written[1:-1] if "%" not in written else ""))
        except ValueError:
            raise Refused("its host is not an IPv6 address") from None
    host = written.lower().removesuffix(".")
    labels = host.split(".")
    if not host or len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused("its host is not a name")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise Refused("its host is a number, and not an IPv4 address of four parts") from None
    return host


def allowed(destination: Destination, entries: Sequence[str]) -> bool:
    """Whether an entry names the host and port: `host`, `.suffix` (the name itself and all below it), each with `:port` or `:*`; without
    one the scheme's own port is meant."""
    return any(_matches(destination, entry) for entry in entries)


def _matches(destination: Destination, entry: str) -> bool:
    name, port = _entry(entry.strip().lower())
    if port != "*" and destination.port != (int(port) if port.isdigit() else PORTS[destination.scheme]):
        return False
    if name.startswith("."):
        return destination.host == name[1:] or destination.host.endswith(name)
    return destination.host == name


def _entry(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = entry.partition(":")
    return name.removesuffix("."), port


def networks(entries: Iterable[str]) -> tuple[Network, ...]:
    """Raises ValueError for what is not a network."""
    return tuple(ipaddress.ip_network(entry.strip()) for entry in entries if entry.strip())


def plain(address: Address) -> Address:
    """The IPv4 address inside an IPv6 address that carries one, else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour is not None:
            return address.sixtofour
        if int(address) > 1 and any(address in carrier for carrier in _CARRIERS):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def named_in(address: Address, named: Sequence[Network]) -> bool:
    """Whether one of these networks holds the address, or the IPv4 address that it carries."""
    found = plain(address)
    return any(found in network for network in named if network.version == found.version)


def safe(address: Address, named: Sequence[Network]) -> bool:
    """Whether the portal may connect there: a public unicast address, or one of a network that the installation names."""
    if named_in(address, named):
        return True
    found = plain(address)
    inside = found.is_multicast or found.is_reserved or found.is_unspecified or named_in(found, _INSIDE)
    return found.is_global and not inside
