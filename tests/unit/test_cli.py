"""The command: what it teaches, how it fails, what it hands on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import detect.launcher
from detect import cli
from detect.errors import ServerError
from detect.launcher.options import UpOptions

COMMANDS = ("up", "serve", "doctor", "image", "video", "models")
HEAVY = ("aiortc", "onnxruntime", "jupyter_server", "voila", "fastapi", "numpy", "httpx", "av")


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[UpOptions]:
    """What `detect up` would have started."""
    options: list[UpOptions] = []
    monkeypatch.setattr(detect.launcher, "up", options.append)
    return options


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_help_names_every_command_and_where_to_begin(
    runner: CliRunner, arguments: list[str]
) -> None:
    output = runner.invoke(cli.app, arguments).output
    for command in COMMANDS:
        assert f" {command} " in output
    assert "Start with detect up" in output
    assert "detect image photo.jpg" in output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(runner: CliRunner, command: str) -> None:
    result = runner.invoke(cli.app, [command, "--help"])
    assert result.exit_code == 0
    assert "--help" in result.output


def test_version(runner: CliRunner) -> None:
    result = runner.invoke(cli.app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("detect ")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, detect.cli\n"
        "sys.argv = ['detect', '--help']\n"
        "try:\n    detect.cli.main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "HEAVY []" in output


def test_up_without_options(runner: CliRunner, started: list[UpOptions]) -> None:
    assert runner.invoke(cli.app, ["up"]).exit_code == 0
    assert started == [UpOptions()]


def test_up_hands_every_option_on(
    runner: CliRunner, started: list[UpOptions], tmp_path: Path
) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
    arguments = [
        *("up", "--model", "m.onnx", "--family", "yolox", "--score-threshold", "0.5"),
        *("--threads", "2", "--max-phones", "3", "--engine-delay-ms", "60"),
        *("--ice-server", "stun:a:1", "--ice-server", "stun:b:2"),
        *("--lan-port", "1", "--local-port", "2", "--jupyter-port", "3"),
        *("--public-url", "https://x", "--notebooks", str(tmp_path), "--offline"),
        *("--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")),
        *("--no-browser", "--json"),
    ]
    result = runner.invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert started == [
        UpOptions(
            model="m.onnx",
            family="yolox",
            score_threshold=0.5,
            threads=2,
            max_phones=3,
            engine_delay_ms=60,
            ice_servers=("stun:a:1", "stun:b:2"),
            lan_port=1,
            local_port=2,
            jupyter_port=3,
            public_url="https://x",
            cert=tmp_path / "cert.pem",
            key=tmp_path / "key.pem",
            notebooks=tmp_path,
            offline=True,
            open_browser=False,
            as_json=True,
        )
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--lan-port", "65536"],
        ["--score-threshold", "2"],
        ["--threads", "0"],
        ["--cert", "/nowhere.pem"],
        ["surplus"],
    ],
)
def test_wrong_options_start_nothing(
    runner: CliRunner, started: list[UpOptions], arguments: list[str]
) -> None:
    assert runner.invoke(cli.app, ["up", *arguments]).exit_code == 2
    assert started == []


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: UpOptions) -> None:
        raise ServerError("expected this, got that, do so")

    monkeypatch.setattr(detect.launcher, "up", fail)


@pytest.mark.usefixtures("failing")
def test_an_error_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["detect", "up"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: expected this, got that, do so" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.usefixtures("failing")
def test_debug_shows_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["detect", "--debug", "up"])
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    with pytest.raises(ServerError):
        cli.main()
