"""The configuration of the Jupyter server that ``detect up`` starts.

It is handed to the child over its standard input, never over a command line or a file, because it
holds two secrets: Jupyter's token, and the access token of the media server.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from detect.launcher.notebooks import DASHBOARD

JSONValue: TypeAlias = "str | int | float | bool | list[JSONValue] | dict[str, JSONValue] | None"
Section: TypeAlias = dict[str, JSONValue]

PROXY_NAME = "detect"
"""The media server is under ``<base_url>detect/`` of the Jupyter server."""

DASHBOARD_PATH = f"voila/render/{DASHBOARD}"
VOILA_TEMPLATE = "detect"

EXTENSIONS = (
    "detect.jupyter",
    "jupyter_server_proxy",
    "jupyter_server_terminals",
    "jupyterlab",
    "voila.server_extension",
)
"""Server extensions that are switched on; what else is installed on the machine stays off."""

VOILA_DENY_LIST = ("@jupyterhub/jupyter-server-proxy", "@voila-dashboards/jupyterlab-preview")
"""Lab extensions kept out of the dashboard page: without Lab around them they log errors."""

ISOLATION_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""They make the page cross-origin isolated, which threads in WebAssembly need."""

KERNEL_SHUTDOWN_S = 0.5
"""How long a kernel may take to leave by itself: everything has to be gone within 2 s."""


@dataclass(frozen=True, slots=True)
class JupyterPlan:
    """Where the Jupyter server listens, what it shows and what it forwards to.

    Attributes
    ----------
    port : int
        Port of the Jupyter server, on the loopback address.
    token : str
        Jupyter's own token.
    notebooks : Path
        Folder that it shows.
    server_port : int
        The media server's loopback port.
    access_token : str
        The media server's access token; the proxy adds it to every forwarded request.
    open_code : str
        Good once, for the page that is opened first.
    """

    port: int
    token: str = field(repr=False)
    notebooks: Path
    server_port: int
    access_token: str = field(repr=False)
    open_code: str = field(repr=False)


def jupyter_config(plan: JupyterPlan) -> dict[str, Section]:
    """Configuration by traitlets class, plain enough for JSON."""
    return {
        "ServerApp": _server_section(plan),
        "IdentityProvider": {"token": plan.token},
        "FirstPage": {"code": plan.open_code, "path": DASHBOARD_PATH},
        "ServerProxy": {"servers": {PROXY_NAME: _proxy_entry(plan)}},
        "VoilaConfiguration": {
            "template": VOILA_TEMPLATE,
            "extension_denylist": list(VOILA_DENY_LIST),
        },
        "KernelManager": {"shutdown_wait_time": KERNEL_SHUTDOWN_S},
        "LabApp": {
            # A demo on a laptop asks nobody on the internet for news.
            "check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
            "news_url": None,
        },
    }


def _server_section(plan: JupyterPlan) -> Section:
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return {
        "ip": "127.0.0.1",
        "port": plan.port,
        "port_retries": 0,  # the port is in addresses that were handed out already
        "root_dir": str(plan.notebooks),
        "open_browser": False,
        "allow_root": is_root,  # containers have no other user; Jupyter refuses root by default
        "allow_unauthenticated_access": False,  # also for handlers that forgot to ask
        "jpserver_extensions": dict.fromkeys(EXTENSIONS, True),
        "tornado_settings": {"headers": {**ISOLATION_HEADERS}},
    }


def _proxy_entry(plan: JupyterPlan) -> Section:
    return {
        "port": plan.server_port,
        # Used for plain requests and for WebSockets alike (jupyter-server-proxy 4.6,
        # handlers.py: proxy_request_headers).
        "request_headers_override": {"Authorization": f"Bearer {plan.access_token}"},
        "launcher_entry": {"enabled": False},
        "update_last_activity": False,
    }
