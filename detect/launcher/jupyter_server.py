"""The Jupyter server as a child: started with its configuration, waited for until it answers."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import httpx

from detect.config import SERVER_URL_ENV, TOKEN_ENV, data_dir
from detect.errors import ServerError
from detect.launcher.children import Child
from detect.launcher.jupyter_config import DASHBOARD_PATH, JupyterPlan, jupyter_config
from detect.launcher.notebooks import DASHBOARD

TEMPLATES_DIR = Path(__file__).parents[1] / "dashboard" / "jupyter_data"
"""Put on Jupyter's data path: the Voila template is in there."""
READY_TIMEOUT_S = 60.0
POLL_S = 0.1


class JupyterServer:
    """One Jupyter server with Voila and JupyterLab."""

    def __init__(self, plan: JupyterPlan, *, runtime_dir: Path) -> None:
        self._plan = plan
        self._runtime_dir = runtime_dir
        self.child: Child | None = None

    @property
    def url(self) -> str:
        """Base address, without the token."""
        return f"http://127.0.0.1:{self._plan.port}"

    @property
    def dashboard_url(self) -> str:
        """The dashboard, with the token."""
        return f"{self.url}/{DASHBOARD_PATH}?token={self._plan.token}"

    @property
    def open_url(self) -> str:
        """Leads to the dashboard once, and holds no token."""
        return f"{self.url}/detect-open/{self._plan.open_code}"

    @property
    def lab_url(self) -> str:
        """JupyterLab, with the token."""
        return f"{self.url}/lab?token={self._plan.token}"

    async def start(self) -> None:
        """Start it and wait until Voila answers.

        Raises
        ------
        ServerError
            When it ends before, or takes too long; with the end of its log.
        """
        home = data_dir() / "jupyter"
        home.mkdir(exist_ok=True)
        self.child = await Child.start(
            [sys.executable, "-m", "detect.launcher.jupyter_child"],
            env=_environment(self._plan, home, self._runtime_dir),
            log_name="jupyter",
            cwd=home,
        )
        self.child.tell(json.dumps(jupyter_config(self._plan)))
        ended = asyncio.create_task(self.child.process.wait())
        answers = asyncio.create_task(self._answers())
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await asyncio.wait({ended, answers}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise self.failed(f"did not answer within {READY_TIMEOUT_S:.0f} s") from None
        finally:
            # The process may go on: only our waiting for it ends.
            for task in (ended, answers):
                task.cancel()
            await asyncio.wait({ended, answers})
        if self.child.process.returncode is not None:
            raise self.failed(f"ended with exit code {self.child.process.returncode}")
        answers.result()  # raises what was wrong with the answer

    async def ended(self) -> str:
        """Wait until it ends; returns what happened in words."""
        assert self.child is not None
        return await self.child.ended()

    async def end(self, patience_s: float) -> None:
        """End it and its kernels."""
        if self.child is not None:
            await self.child.end(patience_s)

    def failed(self, what: str) -> ServerError:
        """The error that says ``what`` happened and shows the end of the log."""
        assert self.child is not None
        log = self.child.log
        return ServerError(
            f"Jupyter server: it {what}. The end of its log ({log.path}):\n{log.tail()}"
        )

    async def _answers(self) -> None:
        """Return once Voila answers: its list of notebooks needs no kernel."""
        headers = {"Authorization": f"token {self._plan.token}"}
        async with httpx.AsyncClient(headers=headers, timeout=5, trust_env=False) as client:
            while True:
                try:
                    response = await client.get(f"{self.url}/voila/tree/{DASHBOARD}")
                except httpx.TransportError:
                    await asyncio.sleep(POLL_S)  # not listening yet
                    continue
                # Voila sends a file's address on to its rendering.
                if response.is_redirect or response.is_success:
                    return
                raise self.failed(f"answered {response.status_code} for the dashboard")


def _environment(plan: JupyterPlan, home: Path, runtime_dir: Path) -> dict[str, str]:
    """Environment of the Jupyter server, and through it of the kernels."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in {"JUPYTER_TOKEN", "JUPYTER_PORT", "JUPYTER_NO_CONFIG", "JPY_PARENT_PID"}
    }
    paths = [str(TEMPLATES_DIR), os.environ.get("JUPYTER_PATH", "")]
    return {
        **inherited,
        "JUPYTER_CONFIG_DIR": str(home),
        "JUPYTER_RUNTIME_DIR": str(runtime_dir),
        "JUPYTER_PATH": os.pathsep.join(filter(None, paths)),
        # The kernel of this environment, not one of the same name in the user's home.
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYTHONUNBUFFERED": "1",
        SERVER_URL_ENV: f"http://127.0.0.1:{plan.server_port}",
        TOKEN_ENV: plan.access_token,
    }
