"""Ranking of addresses, and ports that are taken."""

from __future__ import annotations

import ipaddress
import os
import socket

import psutil
import pytest

from detect.errors import ServerError
from detect.server.addresses import Interface, host_names, lan_addresses, rank_addresses, url_host
from detect.server.ports import bind_port, port_owner


def interface(name: str, address: str) -> Interface:
    return Interface(name, ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("found", "default", "expected"),
    [
        ([], [], []),
        ([("lo", "127.0.0.1"), ("lo", "::1")], [], []),
        ([("eth0", "169.254.3.4"), ("eth0", "fe80::1")], [], []),  # link-local: no DHCP answered
        (
            [("docker0", "172.17.0.1"), ("wlan0", "192.168.1.5"), ("eth0", "10.0.0.2")],
            ["10.0.0.2"],
            ["10.0.0.2", "192.168.1.5", "172.17.0.1"],
        ),
        (  # a VPN that owns the default route is still not the room's network
            [("tun0", "10.8.0.2"), ("wlan0", "192.168.1.5")],
            ["10.8.0.2"],
            ["192.168.1.5", "10.8.0.2"],
        ),
        (  # IPv4 first: every phone has it, and it makes the smaller QR code
            [("eth0", "2001:db8::5"), ("eth0", "192.168.1.5")],
            ["2001:db8::5"],
            ["192.168.1.5", "2001:db8::5"],
        ),
        ([("eth0", "192.168.1.5"), ("eth0", "192.168.1.5")], [], ["192.168.1.5"]),
    ],
)
def test_ranking(found: list[tuple[str, str]], default: list[str], expected: list[str]) -> None:
    ranked = rank_addresses(
        [interface(*each) for each in found], frozenset(map(ipaddress.ip_address, default))
    )
    assert list(ranked) == expected


def test_this_machines_addresses_are_usable() -> None:
    for address in lan_addresses():
        assert not ipaddress.ip_address(address).is_loopback


def test_interfaces_that_are_down_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {name: value._replace(isup=False) for name, value in psutil.net_if_stats().items()}
    monkeypatch.setattr(psutil, "net_if_stats", lambda: stats)
    assert lan_addresses() == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Laptop", ("laptop", "laptop.local")),
        ("mac.local", ("mac", "mac.local")),
        ("bücher", ("xn--bcher-kva", "xn--bcher-kva.local")),
        ("x" * 80, ()),
    ],
)
def test_host_names(monkeypatch: pytest.MonkeyPatch, name: str, expected: tuple[str]) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert host_names() == expected


def test_ipv6_in_a_url_has_brackets() -> None:
    assert url_host("::1") == "[::1]"
    assert url_host("10.0.0.1") == "10.0.0.1"


def test_a_taken_port_gives_the_next_and_says_by_whom() -> None:
    first = bind_port("127.0.0.1", 0, what="test")
    with first.socket:
        assert first.notice is None
        second = bind_port("127.0.0.1", first.port, what="phones")
        with second.socket:
            assert first.port < second.port <= first.port + 20
            assert second.notice is not None
            assert second.notice.startswith(f"phones: port {first.port} is taken by ")
            assert str(os.getpid()) in second.notice
            assert str(second.port) in second.notice


def test_nobody_owns_a_free_port() -> None:
    bound = bind_port("127.0.0.1", 0, what="test")
    bound.socket.close()
    assert port_owner(bound.port) is None


def test_no_free_port_in_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detect.server.ports.N_PORTS_TRIED", 1)
    with (
        bind_port("127.0.0.1", 0, what="test").socket as taken,
        pytest.raises(ServerError, match=r"all taken.*choose another port"),
    ):
        bind_port("127.0.0.1", taken.getsockname()[1], what="phones")


def test_a_foreign_address_is_refused() -> None:
    with pytest.raises(ServerError, match="cannot listen on"):
        bind_port("198.51.100.7", 0, what="phones")


def test_ipv6_listens_too() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with bind_port("::1", 0, what="test").socket as bound:
        assert bound.family is socket.AF_INET6
