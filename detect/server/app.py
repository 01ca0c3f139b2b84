"""The media server as one coroutine: :func:`run_server`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from detect.config import ServerConfig, data_dir
from detect.errors import ServerError
from detect.rtc.receiver import check_aiortc
from detect.server import tls
from detect.server.addresses import host_names, lan_addresses, url_host
from detect.server.api import Parts, pairing_url
from detect.server.assets import Assets
from detect.server.guards import HostPolicy
from detect.server.hub import Hub
from detect.server.listeners import MAX_LAN_CONNECTIONS, Listener, lan_app, local_app
from detect.server.models import LoadPipeline, ModelHost, ModelState, ModelStatus
from detect.server.pairing import Pairing
from detect.server.phone_book import PhoneBook
from detect.server.phones import AWAY_TTL_S, Phones
from detect.server.ports import BoundPort, bind_port
from detect.server.resources import ResourceSampler
from detect.server.sessions import NewSession, session_maker
from detect.server.signaling import Signaling
from detect.server.status import PhoneAddress, StatusReport
from detect.server.tasks import TaskOwner
from detect.server.telemetry import Telemetry

if TYPE_CHECKING:
    import ssl

    from detect.vision.pipeline import Pipeline

logger = logging.getLogger(__name__)

HOUSEKEEPING_S = 1.0
ADDRESS_CHECK_TICKS = 10
EXPIRY_TICKS = 60
CLOSE_TIMEOUT_S = 1.5
"""For sessions, viewers and sockets together; the listeners need what is left of 2 s."""


@dataclass(frozen=True, slots=True)
class ReadyInfo:
    """Where the running server is.

    Attributes
    ----------
    pid : int
        Of this process.
    local_url, phone_url : str
        Base addresses of the two listeners (or of the tunnel), without a token.
    pairing_url : str
        ``phone_url`` with the first one-time token: what the QR code says.
    lan_port, local_port : int
        Real ports.
    lan_addresses : tuple of str
        Best first; empty without a network.
    fingerprint : str
        SHA-256 of the LAN listener's certificate.
    is_self_signed : bool
        Whether phones will warn about it.
    notices : tuple of str
        What the user should know: ports taken, no network.
    """

    pid: int
    local_url: str
    phone_url: str
    pairing_url: str = field(repr=False)
    lan_port: int
    local_port: int
    lan_addresses: tuple[str, ...]
    fingerprint: str
    is_self_signed: bool
    notices: tuple[str, ...]


async def run_server(
    config: ServerConfig,
    *,
    on_ready: Callable[[ReadyInfo], None],
    stop: asyncio.Event,
    load: LoadPipeline | None = None,
    new_session: NewSession | None = None,
) -> None:
    """Run the media server until ``stop`` is set, and leave nothing behind.

    Parameters
    ----------
    config : ServerConfig
        Settings.
    on_ready : callable
        Called once, when both listeners accept connections. The model may still be loading.
    stop : asyncio.Event
        Ends the server, within 2 s.
    load, new_session : callable, optional
        Stand in for onnxruntime and aiortc in tests.

    Raises
    ------
    ServerError
        If no port is free.
    ConfigError
        If the given certificate is not usable.
    TransportError
        If the installed aiortc is one this package cannot work with.
    """
    if new_session is None:
        check_aiortc()  # now, not when the first phone comes
    with contextlib.ExitStack() as sockets:
        lan = bind_port(config.lan_host, config.lan_port, what="phones")
        sockets.enter_context(lan.socket)
        local = bind_port(config.local_host, config.local_port, what="dashboard")
        sockets.enter_context(local.socket)
        server = MediaServer(config, lan, local, load=load, new_session=new_session)
        await server.run(on_ready, stop)


class MediaServer:
    """All parts, wired. Made on the loop that will run it."""

    def __init__(
        self,
        config: ServerConfig,
        lan: BoundPort,
        local: BoundPort,
        *,
        load: LoadPipeline | None = None,
        new_session: NewSession | None = None,
    ) -> None:
        self._config = config
        self._lan, self._local = lan, local
        self._addresses = self._reachable()
        self._phone = PhoneAddress(self._phone_url())
        self._certificate = self._load_certificate()
        self._tls = self._certificate.ssl_context()
        self._owner = TaskOwner()
        self._resources = ResourceSampler()
        telemetry = Telemetry(self._resources)
        self._hub = Hub(
            new_session=new_session or session_maker(config.ice_servers),
            settings=config.detection,
            engine_delay_ms=config.engine_delay_ms,
            max_viewers=config.max_viewers,
            on_shown=telemetry.observe,
        )
        self._models = ModelHost(
            load=load or _pipeline_loader(config),
            install=self._hub.set_pipeline,
            on_change=self._on_model,
        )
        book = PhoneBook(data_dir(), port=lan.port, ttl_s=AWAY_TTL_S)
        self._pairing = Pairing(ttl_s=config.pairing_ttl_s, known=book.load(), on_change=book.save)
        self._phones = Phones(self._hub, self._pairing, max_phones=config.max_phones)
        self._phones.restore()
        telemetry.watch(self._hub, lambda: self._phones.n_connected)
        report = StatusReport(
            self._hub,
            self._models,
            self._resources,
            self._phone,
            is_wanted_port=lan.notice is None,
        )
        self._parts = Parts(
            self._hub,
            self._phones,
            self._pairing,
            self._models,
            report,
            telemetry,
            self._phone,
        )
        self._signaling = [self._new_signaling(is_local=each) for each in (False, True)]
        self._listeners = self._new_listeners(self._tls)

    def _new_signaling(self, *, is_local: bool) -> Signaling:
        return Signaling(
            self._phones,
            is_local=is_local,
            ice_servers=self._config.ice_servers,
            class_names=lambda: self._models.status.class_names,
        )

    def _new_listeners(self, context: ssl.SSLContext) -> list[Listener]:
        assets, (phones, sources) = Assets(), self._signaling
        lan = lan_app(phones, assets, HostPolicy(self._config.public_url))
        local = local_app(sources, assets, self._parts, self._config.access_token)
        return [
            Listener(lan, self._lan, tls=context, max_connections=MAX_LAN_CONNECTIONS),
            Listener(local, self._local),
        ]

    async def run(self, on_ready: Callable[[ReadyInfo], None], stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set."""
        serving = [
            asyncio.create_task(each.run_until_ended(), name="listener") for each in self._listeners
        ]
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            self._hub.start()
            await asyncio.gather(*(each.wait_up() for each in self._listeners))
            self._owner.start(self._keep_house(), "housekeeping")
            self._models.request(self._config.detection.model)
            on_ready(self._ready_info())
            await asyncio.wait([stopped, *serving], return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done():
                raise ServerError("a listener ended by itself; see the log")
        finally:
            stopped.cancel()
            await self._close()
            for error in await asyncio.gather(*serving, return_exceptions=True):
                if isinstance(error, BaseException):
                    logger.error("a listener failed: %r", error, exc_info=error)

    async def _close(self) -> None:
        await self._owner.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.gather(
                    *(each.close() for each in self._signaling),
                    self._hub.close(),
                    asyncio.to_thread(self._models.close),
                )
        except TimeoutError:
            logger.warning("closing took longer than %.1f s; ending anyway", CLOSE_TIMEOUT_S)
        for listener in self._listeners:
            listener.end()

    def _on_model(self, status: ModelStatus) -> None:
        self._hub.set_settings(replace(self._hub.settings, model=self._models.requested))
        if status.state is ModelState.READY:
            self._hub.viewers.set_model(status.class_names, status.name)

    # Addresses and the certificate that names them.

    def _reachable(self) -> tuple[str, ...]:
        """Addresses the LAN listener can be reached under."""
        host = self._config.lan_host
        if host == "0.0.0.0":
            return tuple(each for each in lan_addresses() if ":" not in each)
        return lan_addresses() if host == "::" else (host,)

    def _phone_url(self) -> str:
        if self._config.public_url is not None:
            return self._config.public_url.rstrip("/")
        host = self._addresses[0] if self._addresses else "localhost"
        return f"https://{url_host(host)}:{self._lan.port}"

    def _load_certificate(self) -> tls.Certificate:
        if self._config.cert is not None and self._config.key is not None:
            return tls.given(self._config.cert, self._config.key)
        return tls.self_signed(data_dir() / "tls", (*self._addresses, *host_names()))

    def _follow_network(self) -> None:
        """The machine may have moved to another network: new address, new certificate."""
        addresses = self._reachable()
        if addresses == self._addresses:
            return
        self._addresses = addresses
        self._phone.url = self._phone_url()
        self._certificate = self._load_certificate()
        # Connections made from now on get it.
        self._tls.load_cert_chain(self._certificate.cert, self._certificate.key)
        logger.info("the network changed; phones connect to %s now", self._phone.url)

    async def _keep_house(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            ticks += 1
            if any(stream.is_active for stream in self._hub.streams):
                self._resources.sample()
            if ticks % ADDRESS_CHECK_TICKS == 0:
                await self._try("following the network", asyncio.to_thread(self._follow_network))
            if ticks % EXPIRY_TICKS == 0:
                await self._try("forgetting phones", self._phones.expire())

    async def _try(self, what: str, doing: Awaitable[None]) -> None:
        """One failed chore must not end the others."""
        try:
            await doing
        except Exception:
            logger.exception("%s failed", what)

    def _ready_info(self) -> ReadyInfo:
        notices = [notice for notice in (self._lan.notice, self._local.notice) if notice]
        if not self._addresses and self._config.public_url is None:
            notices.append(
                "this machine has no network address a phone could reach: connect it to the "
                "network the phone is in, or give --public-url; until then only this machine "
                "itself can connect"
            )
        return ReadyInfo(
            pid=os.getpid(),
            local_url=f"http://{url_host(self._config.local_host)}:{self._local.port}",
            phone_url=self._phone.url,
            pairing_url=pairing_url(self._phone, self._pairing.code()),
            lan_port=self._lan.port,
            local_port=self._local.port,
            lan_addresses=self._addresses,
            fingerprint=self._certificate.fingerprint,
            is_self_signed=self._certificate.is_self_signed,
            notices=tuple(notices),
        )


def _pipeline_loader(config: ServerConfig) -> LoadPipeline:
    """Loader over onnxruntime, which is imported in the loading thread: it takes a while."""

    def load(model: str, *, on_progress: Callable[[int, int], None] | None = None) -> Pipeline:
        from detect.vision.pipeline import load_pipeline

        return load_pipeline(
            model,
            family=config.family if model == config.detection.model else None,
            threads=config.engine_threads,
            allow_download=config.allow_download,
            on_progress=on_progress,
        )

    return load
