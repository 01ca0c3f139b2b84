"""Which addresses of this machine a phone can reach, best first.

A laptop has many: Wi-Fi, Ethernet, VPNs, container bridges. The first one goes into the QR code,
all go into the certificate and into the list of ``Host`` headers the LAN listener accepts.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import psutil

logger = logging.getLogger(__name__)

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_VIRTUAL_NAME = re.compile(
    r"^(docker|br-|veth|virbr|vmnet|vboxnet|vethernet|cni|flannel|cali|lxc|lxd|podman|"  # bridges
    r"tun|tap|utun|wg|tailscale|zt|ppp|ipsec|nordlynx|hamachi|awdl|llw|bridge)",  # VPN, peer links
    re.IGNORECASE,
)
"""Names of interfaces a phone in the same room does not share with us, as a rule."""

# Any address outside this machine does: connecting a UDP socket sends no packet, it only makes
# the kernel choose a route. These are documentation addresses (RFC 5737, RFC 3849).
_ROUTE_PROBES = ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1"))


@dataclass(frozen=True, slots=True)
class Interface:
    """One address of one network interface that is up."""

    name: str
    address: IPAddress


def lan_addresses() -> tuple[str, ...]:
    """Addresses a phone may reach this machine under, best first; empty without a network.

    IPv4 comes before IPv6, the interface of the default route before the others, virtual
    interfaces (containers, VPNs) last. Loopback and link-local addresses are left out: the first
    are not reachable, the second need a zone that a URL in a QR code cannot carry.
    """
    return rank_addresses(_interfaces(), _default_route_addresses())


def rank_addresses(
    interfaces: Sequence[Interface], default_route: frozenset[IPAddress]
) -> tuple[str, ...]:
    """Order the usable addresses of ``interfaces`` as :func:`lan_addresses` says."""
    usable = [each for each in interfaces if _is_usable(each.address)]
    ranked = sorted(usable, key=_rank_key(default_route))
    return tuple(dict.fromkeys(str(each.address) for each in ranked))


def host_names() -> tuple[str, ...]:
    """The machine's name and its multicast DNS name (``name.local``), lower case."""
    name = socket.gethostname().lower().rstrip(".").removesuffix(".local")
    try:
        name = name.encode("idna").decode()
    except UnicodeError:  # not a name DNS could carry
        return ()
    return (name, f"{name}.local") if name else ()


def url_host(address: str) -> str:
    """``address`` as it stands in a URL: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def _rank_key(
    default_route: frozenset[IPAddress],
) -> Callable[[Interface], tuple[bool, bool, bool, bool]]:
    def key(interface: Interface) -> tuple[bool, bool, bool, bool]:
        address = interface.address
        is_default = address in default_route
        return (
            # A full-tunnel VPN owns the default route, so the name is asked first.
            bool(_VIRTUAL_NAME.match(interface.name)),
            address.version == 6,
            not is_default,
            not address.is_private,
        )

    return key


def _is_usable(address: IPAddress) -> bool:
    return not (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
    )


def _interfaces() -> list[Interface]:
    """Every address of every interface that is up."""
    stats: Mapping[str, object] = psutil.net_if_stats()
    found: list[Interface] = []
    for name, entries in psutil.net_if_addrs().items():
        if not getattr(stats.get(name), "isup", True):
            continue
        for entry in entries:
            if entry.family in (socket.AF_INET, socket.AF_INET6):
                # Link-local IPv6 comes with its zone: fe80::1%eth0.
                found.append(Interface(name, ipaddress.ip_address(entry.address.partition("%")[0])))
    return found


def _default_route_addresses() -> frozenset[IPAddress]:
    """Source addresses the kernel would use towards the outside."""
    addresses = set()
    for family, target in _ROUTE_PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                addresses.add(ipaddress.ip_address(probe.getsockname()[0]))
        except OSError:
            logger.debug("no default route for %s", family.name)
    return frozenset(addresses)
