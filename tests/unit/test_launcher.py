"""The parts of `detect up` that need no process."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from detect.errors import ConfigError, ServerError
from detect.launcher import browser, children, jupyter_server, notebooks, runtime
from detect.launcher.jupyter_config import JupyterPlan, jupyter_config
from detect.launcher.media_server import BACKOFF_S, CALM_S, RestartLimit, parse_ready
from detect.launcher.notebooks import DASHBOARD, copy_shipped, notebooks_folder
from detect.launcher.options import UpOptions
from detect.launcher.progress import Addresses, Progress

READY = {
    "event": "ready",
    "pid": 7,
    "local_url": "http://127.0.0.1:8764",
    "phone_url": "https://192.0.2.7:8765",
    "pairing_url": "https://192.0.2.7:8765/#secret-code",
    "lan_port": 8765,
    "local_port": 8764,
    "lan_addresses": ["192.0.2.7"],
}
PLAN = JupyterPlan(
    port=8866,
    token="jupyter-token",
    notebooks=Path("books"),
    server_port=8764,
    access_token="access-token",
    open_code="open-code",
)
ADDRESSES = Addresses(
    dashboard_url="http://127.0.0.1:8866/voila/render/dashboard.ipynb?token=t",
    lab_url="http://127.0.0.1:8866/lab?token=t",
    phone_url="https://192.0.2.7:8765",
    pairing_url="https://192.0.2.7:8765/#code",
    local_url="http://127.0.0.1:8764",
    lan_port=8765,
    local_port=8764,
    jupyter_port=8866,
    pids={"media_server": 1, "jupyter": 2},
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DETECT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class TestServeArguments:
    def test_defaults(self) -> None:
        arguments = UpOptions(serve_command=("serve",)).serve_arguments(lan_port=1, local_port=2)
        assert arguments == [
            *("serve", "--json", "--exit-with-stdin", "--model", "yolox-nano"),
            *("--lan-port", "1", "--local-port", "2"),
        ]

    def test_everything(self) -> None:
        options = UpOptions(
            model="m.onnx",
            family="yolox",
            max_phones=3,
            engine_delay_ms=60.0,
            ice_servers=("stun:a:1", "stun:b:2"),
            score_threshold=0.4,
            threads=2,
            public_url="https://x",
            cert=Path("c"),
            key=Path("k"),
            offline=True,
        )
        text = " ".join(options.serve_arguments(lan_port=1, local_port=2))
        assert "--score-threshold 0.4 --threads 2" in text
        assert "--public-url https://x --cert c --key k" in text
        assert "--family yolox" in text
        assert "--max-phones 3 --engine-delay-ms 60.0" in text
        assert text.endswith("--ice-server stun:a:1 --ice-server stun:b:2 --offline")

    def test_the_media_server_is_this_python(self) -> None:
        assert UpOptions().serve_command == (sys.executable, "-m", "detect", "serve")


class TestJupyterConfig:
    def test_is_plain_json(self) -> None:
        config = jupyter_config(PLAN)
        assert json.loads(json.dumps(config)) == config

    def test_listens_here_only_and_asks_everybody(self) -> None:
        server = jupyter_config(PLAN)["ServerApp"]
        assert server["ip"] == "127.0.0.1"
        assert server["port_retries"] == 0
        assert server["allow_unauthenticated_access"] is False
        assert "disable_check_xsrf" not in server
        assert "allow_origin" not in server

    def test_the_proxy_adds_the_access_token(self) -> None:
        servers: Any = jupyter_config(PLAN)["ServerProxy"]["servers"]
        assert servers["detect"]["port"] == 8764
        headers = servers["detect"]["request_headers_override"]
        assert headers == {"Authorization": "Bearer access-token"}

    def test_secrets_are_not_shown(self) -> None:
        assert "token'" not in repr(PLAN)
        assert "jupyter-token" not in repr(PLAN)
        assert "access-token" not in repr(PLAN)
        assert "open-code" not in repr(PLAN)

    def test_kernels_know_the_media_server(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("JUPYTER_TOKEN", "another")
        monkeypatch.setenv("JUPYTER_PATH", "mine")
        environment = jupyter_server._environment(PLAN, tmp_path, tmp_path / "run")
        assert environment["DETECT_SERVER_URL"] == "http://127.0.0.1:8764"
        assert environment["DETECT_ACCESS_TOKEN"] == "access-token"
        assert "JUPYTER_TOKEN" not in environment
        first, last = environment["JUPYTER_PATH"].split(os.pathsep)
        assert (Path(first) / "voila" / "templates").is_dir()
        assert last == "mine"


class TestReadyLine:
    def test_is_read(self) -> None:
        ready = parse_ready(json.dumps(READY) + "\n")
        assert ready is not None
        assert ready.local_port == 8764
        assert ready.lan_addresses == ("192.0.2.7",)
        assert "secret-code" not in repr(ready)

    @pytest.mark.parametrize("line", ["", "hello", "[1]", '{"event": "progress"}', "{"])
    def test_other_lines_are_passed_over(self, line: str) -> None:
        assert parse_ready(line) is None

    @pytest.mark.parametrize("change", [{"lan_port": "x"}, {"pid": None}, {"lan_addresses": 5}])
    def test_a_wrong_one_is_an_error(self, change: dict[str, object]) -> None:
        with pytest.raises(ServerError, match="all fields"):
            parse_ready(json.dumps({**READY, **change}))

    def test_an_incomplete_one_is_an_error(self) -> None:
        with pytest.raises(ServerError, match="pid"):
            parse_ready('{"event": "ready"}')


class TestRestartLimit:
    def test_waits_longer_each_time_and_gives_up(self) -> None:
        limit = RestartLimit()
        pauses = [limit.next_pause_s(ran_s=1) for _ in range(len(BACKOFF_S) + 1)]
        assert pauses == [*BACKOFF_S, None]

    def test_a_calm_run_is_forgiven(self) -> None:
        limit = RestartLimit()
        for _ in BACKOFF_S:
            limit.next_pause_s(ran_s=1)
        assert limit.next_pause_s(ran_s=CALM_S) == BACKOFF_S[0]


class TestNotebooks:
    @pytest.fixture
    def shipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """What the package brings, installed where nobody edits."""
        folder = tmp_path / "site-packages" / "notebooks"
        (folder / "pictures").mkdir(parents=True)
        (folder / DASHBOARD).write_text("first")
        (folder / "pictures" / "a.svg").write_text("picture")
        (folder / ".ipynb_checkpoints").mkdir()
        (folder / ".ipynb_checkpoints" / "old.ipynb").write_text("old")
        monkeypatch.setattr("detect.resources.notebooks_dir", lambda: folder)
        return folder

    def test_a_checkout_is_used_as_it_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / DASHBOARD).write_text("{}")
        monkeypatch.setattr("detect.resources.notebooks_dir", lambda: tmp_path)
        assert notebooks_folder(None) == tmp_path

    def test_an_installed_package_is_copied(self, shipped: Path, home: Path) -> None:
        folder = notebooks_folder(None)
        assert folder == home / "data" / "notebooks"
        assert (folder / DASHBOARD).read_text() == "first"
        assert (folder / "pictures" / "a.svg").is_file()
        assert not (folder / ".ipynb_checkpoints").exists()

    def test_a_wanted_folder_gets_them_too(self, shipped: Path, tmp_path: Path) -> None:
        folder = notebooks_folder(tmp_path / "mine")
        assert (folder / DASHBOARD).read_text() == "first"

    def test_an_update_follows_unless_changed_by_the_user(
        self, shipped: Path, tmp_path: Path
    ) -> None:
        target = tmp_path / "target"
        (shipped / "other.ipynb").write_text("first")
        copy_shipped(shipped, target)
        (target / "other.ipynb").write_text("my own")
        for name in (DASHBOARD, "other.ipynb"):
            (shipped / name).write_text("second")
        copy_shipped(shipped, target)
        assert (target / DASHBOARD).read_text() == "second"
        assert (target / "other.ipynb").read_text() == "my own"
        copy_shipped(shipped, target)  # the third time as the second
        assert (target / "other.ipynb").read_text() == "my own"

    def test_a_file_of_the_same_name_is_left_alone(self, shipped: Path, tmp_path: Path) -> None:
        (tmp_path / DASHBOARD).write_text("here before")
        copy_shipped(shipped, tmp_path)
        assert (tmp_path / DASHBOARD).read_text() == "here before"

    @pytest.mark.parametrize("content", ["not json", "[]"])
    def test_a_broken_list_of_digests_overwrites_nothing(
        self, shipped: Path, tmp_path: Path, content: str
    ) -> None:
        target = tmp_path / "target"
        copy_shipped(shipped, target)
        (target / notebooks.MANIFEST).write_text(content)
        (shipped / DASHBOARD).write_text("second")
        copy_shipped(shipped, target)
        assert (target / DASHBOARD).read_text() == "first"

    def test_missing_ones_are_an_error(self, shipped: Path) -> None:
        (shipped / DASHBOARD).unlink()
        with pytest.raises(ConfigError, match="Install the package again"):
            notebooks_folder(None)

    def test_a_folder_that_cannot_be_made_is_an_error(self, shipped: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="expected a folder to write in"):
            notebooks_folder(tmp_path / "file")


class TestRuntimeDir:
    def test_is_private_and_sweeps_dead_ones(self, home: Path) -> None:
        parent = home / "data" / "run"
        (parent / "999999999").mkdir(parents=True)
        (parent / "strange").mkdir()
        (parent / "1").mkdir()  # process 1 always runs
        own = runtime.make_runtime_dir()
        assert {path.name for path in parent.iterdir()} == {"1", str(os.getpid())}
        if sys.platform != "win32":
            assert stat.S_IMODE(own.stat().st_mode) == 0o700


class TestLogFile:
    def test_the_tail_is_of_this_run(self) -> None:
        for run in ("first", "second"):
            log = children.LogFile("x")
            log.file.write(f"{run} run\n".encode())
            log.close()
        assert log.tail() == "second run"
        assert log.path.read_text() == "first run\nsecond run\n"

    def test_it_has_a_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(children, "MAX_LOG_BYTES", 10)
        for text in ("a" * 11, "b"):
            log = children.LogFile("x")
            log.file.write(text.encode())
            log.close()
        assert log.path.read_text() == "b"


class TestProgress:
    def test_the_line_for_scripts(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = io.StringIO()
        Progress(Console(file=words), as_json=True).ready(ADDRESSES)
        line = json.loads(capsys.readouterr().out)
        assert line.pop("event") == "ready"
        assert line["lab_url"] == ADDRESSES.lab_url
        assert line["pids"] == {"media_server": 1, "jupyter": 2}
        assert words.getvalue() == ""

    def test_words_for_people_keep_addresses_whole(self) -> None:
        words = io.StringIO()
        Progress(Console(file=words, width=40), as_json=False).ready(ADDRESSES)
        text = words.getvalue()
        for url in (ADDRESSES.dashboard_url, ADDRESSES.lab_url, ADDRESSES.pairing_url):
            assert url in text
        assert "█" in text
        assert "▀" in text

    def test_a_terminal_without_blocks_gets_words(self) -> None:
        raw = io.BytesIO()
        narrow = io.TextIOWrapper(raw, encoding="ascii", errors="strict")

        class Plain(Progress):
            def note(self, words: str) -> None:
                raw.write(words.encode())

        Plain(Console(file=narrow), as_json=False)._show_code(ADDRESSES.pairing_url)
        assert b"the dashboard shows it too" in raw.getvalue()
        narrow.detach()

    def test_a_step_tells_what_and_how_long(self) -> None:
        words = io.StringIO()
        progress = Progress(Console(file=words), as_json=False)
        with progress.step("Doing", "Done") as notes:
            notes.append("twice")
        assert "✓ Done (0.0 s)  twice" in words.getvalue()

    def test_secrets_are_not_shown_by_repr(self) -> None:
        assert "token=t" not in repr(ADDRESSES)
        assert "#code" not in repr(ADDRESSES)
        assert repr(replace(ADDRESSES, lan_port=1)) != repr(ADDRESSES)


class TestFindChromium:
    def test_a_named_one_goes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "mine").write_text("")
        monkeypatch.setenv("CHROMIUM", str(tmp_path / "mine"))
        assert browser.find_chromium() == str(tmp_path / "mine")

    def test_a_named_one_that_is_missing_is_not_replaced(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
        assert browser.find_chromium() is None

    def test_on_the_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CHROMIUM", raising=False)
        monkeypatch.setattr("shutil.which", lambda name: "/x" if name == "msedge" else None)
        assert browser.find_chromium() == "/x"
