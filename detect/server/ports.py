"""Binding a listening port: the wanted one, or the next free one, saying who has the wanted one."""

from __future__ import annotations

import errno
import logging
import socket
from dataclasses import dataclass

import psutil

from detect.errors import ServerError

logger = logging.getLogger(__name__)

N_PORTS_TRIED = 21
"""The wanted port and the next 20."""

_TAKEN = {errno.EADDRINUSE, errno.EACCES, getattr(errno, "WSAEACCES", errno.EACCES)}


@dataclass(frozen=True, slots=True, eq=False)
class BoundPort:
    """A listening socket, and what to tell the user when it is not the wanted one."""

    socket: socket.socket
    port: int
    notice: str | None


def bind_port(host: str, port: int, *, what: str) -> BoundPort:
    """Listen on ``port`` of ``host``, or on the first free one of the next 20.

    Parameters
    ----------
    host : str
        Address to bind, IPv4 or IPv6.
    port : int
        Wanted port; 0 takes any free one.
    what : str
        Name of the listener, for messages.

    Raises
    ------
    ServerError
        If no port of the range is free, or the address is not one of this machine.
    """
    candidates = [0] if port == 0 else list(range(port, min(port + N_PORTS_TRIED, 65536)))
    for candidate in candidates:
        try:
            bound = _listen(host, candidate)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise ServerError(
                    f"{what}: cannot listen on {host} port {candidate}: {error.strerror or error}"
                ) from error
            continue
        actual: int = bound.getsockname()[1]
        if port in (0, actual):
            return BoundPort(bound, actual, None)
        return BoundPort(
            bound, actual, f"{what}: port {port} is taken{_by(port)}; using {actual} instead"
        )
    raise ServerError(
        f"{what}: ports {candidates[0]} to {candidates[-1]} are all taken{_by(port)}; "
        f"end what uses them or choose another port"
    )


def port_owner(port: int) -> str | None:
    """Name and id of the process that listens on ``port``; None where we may not know."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            is_listening = connection.status == psutil.CONN_LISTEN
            if is_listening and connection.pid and _port_of(connection.laddr) == port:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except (psutil.Error, OSError) as error:
        logger.debug("cannot tell who listens on port %d: %s", port, type(error).__name__)
    return None


def _port_of(address: object) -> int | None:
    return getattr(address, "port", None)


def _by(port: int) -> str:
    owner = port_owner(port)
    return f" by {owner}" if owner else ""


def _listen(host: str, port: int) -> socket.socket:
    """A listening, non-blocking TCP socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            # On Windows SO_REUSEADDR would share the port with its present owner.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        # Listening now, not when the server starts: two sockets may bind one port with
        # SO_REUSEADDR, and only listen() tells who was first.
        bound.listen(128)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound
