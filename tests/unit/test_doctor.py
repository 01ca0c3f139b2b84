"""What doctor finds, says and advises, on good and sick machines."""

from __future__ import annotations

import importlib
import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from detect import cli
from detect.cli.doctor import Finding, State, examine

# By its path: the package has a function of the same name.
doctor = importlib.import_module("detect.cli.doctor")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own, no models, and a front-end that is built."""
    monkeypatch.setenv("DETECT_HOME", str(tmp_path))
    monkeypatch.delenv("DETECT_MODELS", raising=False)
    monkeypatch.setattr(doctor, "_front_end", lambda: Finding("front-end", "built"))
    return tmp_path


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})


def found(name: str, model: str = "yolox-nano") -> Finding:
    return next(finding for finding in examine(model) if finding.name == name)


def test_everything_is_looked_at_on_this_machine() -> None:
    names = [finding.name for finding in examine("yolox-nano")]
    assert names == [
        "python",
        "platform",
        "cores",
        "memory",
        "model",
        "port for phones",
        "port of media server",
        "port of dashboard",
        "lan addresses",
        "onnxruntime",
        "browser",
        "node",
        "jupyter",
        "front-end",
        "data folder",
        "cache folder",
    ]


def test_the_table_has_findings_score_and_advice(runner: CliRunner) -> None:
    result = runner.invoke(cli.app, ["doctor"])
    assert result.exit_code == 0
    assert "Environment score:" in result.output
    assert "detect models pull yolox-nano" in result.output
    assert "model not here yet (0 of 15)" in result.output


def test_json_says_the_same(runner: CliRunner) -> None:
    result = runner.invoke(cli.app, ["doctor", "--json"])
    assert result.exit_code == 0
    report = json.loads(result.output)
    assert report["is_blocked"] is False
    assert report["mode"]["chosen"] == "server"
    states = {finding["name"]: finding["state"] for finding in report["findings"]}
    assert states["python"] == "ok"
    assert states["model"] == "note"


def test_what_blocks_gives_exit_code_1(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real look at the front-end
    monkeypatch.setattr(doctor, "__file__", "/nowhere/cli/doctor.py")
    result = runner.invoke(cli.app, ["doctor"])
    assert result.exit_code == 1
    assert "not built" in result.output
    assert "npm run build" in result.output
    assert runner.invoke(cli.app, ["doctor", "--json"]).exit_code == 1


def test_a_look_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def sick() -> Finding:
        raise RuntimeError("broken driver")

    monkeypatch.setattr(doctor, "_onnxruntime", sick)
    finding = found("onnxruntime")
    assert finding.state is State.BLOCKS
    assert finding.value == "RuntimeError: broken driver"
    assert finding.advice


def test_a_taken_port_names_its_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        monkeypatch.setattr(doctor, "DEFAULT_LAN_PORT", holder.getsockname()[1])
        finding = found("port for phones")
    assert finding.state is State.NOTE
    assert "is taken by" in finding.value


def test_an_unknown_model_is_a_note_in_words() -> None:
    finding = found("model", "no-such-model")
    assert finding.state is State.NOTE
    assert "no-such-model" in finding.value


@pytest.mark.model
@pytest.mark.usefixtures("models_dirs")
def test_a_model_that_is_here(models_dirs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECT_MODELS", str(models_dirs[0]))
    finding = found("model")
    assert finding.state is State.OK
    assert str(models_dirs[0]) in finding.value


@pytest.mark.parametrize(
    ("target", "replacement", "name", "state"),
    [
        ("sys.version_info", (3, 10, 0), "python", State.BLOCKS),
        ("detect.mode.usable_cores", lambda: 1, "cores", State.NOTE),
        ("detect.mode.MIN_MEMORY_BYTES", 2**60, "memory", State.NOTE),
        ("detect.server.addresses.lan_addresses", tuple, "lan addresses", State.NOTE),
        ("detect.launcher.browser.find_chromium", lambda: None, "browser", State.NOTE),
        ("shutil.which", lambda _: None, "node", State.OK),
    ],
)
def test_sick_machines(
    monkeypatch: pytest.MonkeyPatch, target: str, replacement: object, name: str, state: State
) -> None:
    monkeypatch.setattr(target, replacement)
    finding = found(name)
    assert finding.state is state
    assert bool(finding.advice) is (state is not State.OK)


def test_a_folder_that_cannot_be_written_blocks(tmp_path: Path) -> None:
    def broken() -> Path:
        raise PermissionError("read-only file system")

    assert doctor._writable("data folder", broken).state is State.BLOCKS
    good = doctor._writable("data folder", lambda: tmp_path)
    assert good.state is State.OK
    assert list(tmp_path.iterdir()) == []
