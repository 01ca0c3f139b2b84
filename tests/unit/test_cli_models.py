from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from detect import zoo
from detect.cli import app
from detect.errors import ModelError
from detect.model_file import sha256_hex
from detect.zoo import ModelEntry
from tests.unit.onnx_files import external_tensor, save, weights_model

MODEL = weights_model().SerializeToString()
ENTRY = ModelEntry(
    name="yolox-nano",
    family="yolox",
    file="tiny.onnx",
    sha256=sha256_hex(MODEL),
    size_bytes=len(MODEL),
    licence="Apache-2.0",
    input_wh=(32, 32),
    classes="coco-80",
    measured_ap50_95=0.123,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty model folder of a registry with one model."""
    monkeypatch.setenv("DETECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DETECT_MODELS", str(tmp_path))
    monkeypatch.setattr(zoo, "load_registry", lambda: {ENTRY.name: ENTRY})
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments])


def test_list_shows_what_is_known_and_here(folder: Path) -> None:
    result = run("list")
    assert result.exit_code == 0
    assert "yolox-nano*" in result.stdout
    assert "0.123" in result.stdout
    assert "bring the file" in " ".join(result.stdout.split())
    (folder / "tiny.onnx").write_bytes(MODEL)
    assert "yes" in run("list").stdout


def test_list_as_json_is_one_line(folder: Path) -> None:
    result = run("list", "--json")
    assert len(result.stdout.splitlines()) == 1
    (row,) = json.loads(result.stdout)
    assert row["name"] == "yolox-nano"
    assert row["is_default"]
    assert not row["is_available"]
    assert row["input_wh"] == [32, 32]


def test_verify_names_good_and_bad_files(folder: Path) -> None:
    (folder / "tiny.onnx").write_bytes(MODEL)
    result = run("verify")
    assert result.exit_code == 0
    assert "ok  yolox-nano" in result.stdout

    (folder / "tiny.onnx").write_bytes(MODEL[:-1] + b"\xff")
    result = run("verify", "yolox-nano", "--json")
    assert result.exit_code == 1
    (row,) = json.loads(result.stdout)
    assert not row["ok"]
    assert "SHA-256" in row["error"]


def test_verify_takes_files(folder: Path) -> None:
    good = save(folder / "own.onnx", weights_model())
    model = weights_model()
    model.graph.initializer.append(external_tensor())
    bad = save(folder / "outside.onnx", model)
    result = run("verify", str(good), str(bad), "--json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert [row["ok"] for row in rows] == [True, False]
    assert rows[0]["sha256"] == sha256_hex(good.read_bytes())
    assert "external data" in rows[1]["error"]


def test_verify_with_nothing_here_says_what_to_do(folder: Path) -> None:
    result = run("verify")
    assert result.exit_code == 0
    assert "detect models pull" in result.stdout


def test_verify_of_a_model_that_is_not_here_is_bad(folder: Path) -> None:
    result = run("verify", "yolox-nano")
    assert result.exit_code == 1
    assert "no file is here" in result.stderr


def test_pull_without_an_address_says_what_to_do(folder: Path) -> None:
    result = run("pull")
    assert isinstance(result.exception, ModelError)
    assert "DETECT_MODELS" in str(result.exception)


def test_pull_takes_the_default_and_reports_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = folder / "home" / "cache" / "models" / "tiny.onnx"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(MODEL)
    result = run("pull", "--json")
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)
    assert (row["name"], row["path"]) == ("yolox-nano", str(cached))


def test_pull_of_an_unknown_name_suggests_one(folder: Path) -> None:
    assert "did you mean yolox-nano" in str(run("pull", "yolox-nono").exception)
