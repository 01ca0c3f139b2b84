from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from detect import zoo
from detect.config import DEFAULT_MODEL
from detect.errors import ConfigError, ModelError
from detect.model_file import sha256_hex
from detect.vision.classes import CLASS_LISTS
from detect.vision.postprocess import FAMILIES
from detect.zoo import ModelEntry, find_model, load_registry, local_file, pull, verify
from tests.unit.onnx_files import external_tensor, weights_model

MODEL = weights_model().SerializeToString()


def entry(name: str = "tiny", content: bytes = MODEL, /, **changes: object) -> ModelEntry:
    plain = ModelEntry(
        name=name,
        family="yolox",
        file=f"{name}.onnx",
        sha256=sha256_hex(content),
        size_bytes=len(content),
        licence="Apache-2.0",
        input_wh=(32, 32),
        classes="coco-80",
    )
    return replace(plain, **changes)  # type: ignore[arg-type] # a test's shorthand


# --- the registry itself


def test_every_entry_names_a_family_and_classes_there_are() -> None:
    registry = load_registry()
    assert len(registry) == 6
    for model in registry.values():
        assert model.family in FAMILIES
        assert model.classes in CLASS_LISTS


def test_the_default_model_is_free_to_use_and_can_be_fetched() -> None:
    default = load_registry()[DEFAULT_MODEL]
    assert default.licence == "Apache-2.0"
    assert not default.opt_in
    assert default.urls


def test_models_under_agpl_are_opt_in() -> None:
    for model in load_registry().values():
        assert model.opt_in == model.licence.startswith("AGPL")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"name": "../x"}, "name"),
        ({"file": "../x.onnx"}, "file"),  # leads out of the folder
        ({"file": "/etc/x.onnx"}, "file"),
        ({"file": "x.pt"}, "file"),
        ({"sha256": "abc"}, "sha256"),
        ({"size_bytes": 0}, "size_bytes"),
        ({"size_bytes": 1 << 40}, "size_bytes"),
        ({"input_wh": (32, 100_000)}, "input_wh"),
        ({"input_wh": (32,)}, "input_wh"),
        ({"input_wh": (32.5, 32)}, "input_wh"),
        ({"urls": ("http://example.org/x.onnx",)}, "urls"),  # not encrypted
        ({"urls": ("file:///etc/passwd",)}, "urls"),
        ({"licence": ""}, "licence"),
    ],
)
def test_malformed_entries_are_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        entry(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = [", "cannot be read"),
        ('[models.x]\nfamily = "yolox"\n', "missing"),
        ("[models.x]\ncolour = 1\n", "unknown colour"),
        ("[models.x]\nfamily = 1\nfile = 2\nsha256 = 3\n", "x"),
    ],
)
def test_a_malformed_registry_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "registry.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_registry(path)


# --- looking a model up


class Zoo:
    """A registry, one model folder and one cache of a test's own."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "models"
        self.cache = root / "home" / "cache" / "models"
        self.folder.mkdir()
        self.cache.mkdir(parents=True)
        self.registry: dict[str, ModelEntry] = {}

    def know(self, *entries: ModelEntry) -> None:
        self.registry.update({item.name: item for item in entries})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    made = Zoo(tmp_path)
    monkeypatch.setenv("DETECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DETECT_MODELS", str(made.folder))
    monkeypatch.setattr(zoo, "load_registry", lambda: made.registry)
    return made


def test_a_path_comes_first_and_needs_no_entry(home: Zoo, tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    path.write_bytes(MODEL)
    found = find_model(str(path))
    assert (found.path, found.content, found.entry) == (path, MODEL, None)


def test_a_registered_file_is_recognised_by_its_hash(home: Zoo, tmp_path: Path) -> None:
    home.know(entry())
    path = tmp_path / "renamed.onnx"
    path.write_bytes(MODEL)
    assert find_model(str(path)).entry == entry()


def test_a_path_is_never_replaced(home: Zoo, tmp_path: Path) -> None:
    home.know(entry())
    (home.folder / "tiny.onnx").write_bytes(MODEL)
    with pytest.raises(ModelError, match="cannot be opened"):
        find_model(str(tmp_path / "missing.onnx"))


def test_named_folders_come_before_the_cache(home: Zoo) -> None:
    home.know(entry())
    for folder in (home.folder, home.cache):
        (folder / "tiny.onnx").write_bytes(MODEL)
    assert find_model("tiny").path.parent == home.folder


def test_a_damaged_file_is_passed_over(home: Zoo) -> None:
    home.know(entry())
    (home.folder / "tiny.onnx").write_bytes(MODEL[:-1] + b"\x00")
    (home.cache / "tiny.onnx").write_bytes(MODEL)
    assert find_model("tiny").path.parent == home.cache


def test_the_next_best_model_stands_in_and_says_so(home: Zoo) -> None:
    good, better = MODEL, weights_model()
    better.producer_name = "better"
    content = better.SerializeToString()
    home.know(
        entry("wanted", b"never here", opt_in=False),
        entry("good", good, measured_ap50_95=0.2),
        entry("better", content, measured_ap50_95=0.3),
        entry("bound", good, measured_ap50_95=0.9, licence="AGPL-3.0", opt_in=True),
    )
    for name, data in {"good": good, "better": content, "bound": good}.items():
        (home.folder / f"{name}.onnx").write_bytes(data)

    found = find_model("wanted", allow_download=False)

    assert found.entry == home.registry["better"]
    assert found.notice is not None
    assert found.notice.startswith("Using better instead of wanted: ")


def test_an_opt_in_model_is_used_when_asked_for(home: Zoo) -> None:
    home.know(entry(opt_in=True))
    (home.folder / "tiny.onnx").write_bytes(MODEL)
    assert find_model("tiny").notice is None


def test_nothing_at_all_is_an_error_with_a_way_out(home: Zoo) -> None:
    home.know(entry())
    with pytest.raises(ModelError, match="DETECT_MODELS"):
        find_model("tiny")


def test_an_unknown_name_gets_a_suggestion(home: Zoo) -> None:
    home.know(entry("yolox-nano"))
    with pytest.raises(ModelError, match="did you mean yolox-nano"):
        find_model("yolox-nono")


def test_a_link_out_of_its_folder_is_not_followed(home: Zoo, tmp_path: Path) -> None:
    home.know(entry())
    outside = tmp_path / "outside.onnx"
    outside.write_bytes(MODEL)
    (home.folder / "tiny.onnx").symlink_to(outside)
    with pytest.raises(ModelError, match="no good file"):
        find_model("tiny", allow_download=False)


def test_a_link_within_its_folder_is_fine(home: Zoo) -> None:
    home.know(entry())
    (home.folder / "stored").write_bytes(MODEL)
    (home.folder / "tiny.onnx").symlink_to(home.folder / "stored")
    assert find_model("tiny").sha256 == entry().sha256


def test_local_file_looks_at_name_and_size_only(home: Zoo) -> None:
    assert local_file(entry()) is None
    (home.folder / "tiny.onnx").write_bytes(b"short")
    assert local_file(entry()) is None
    (home.folder / "tiny.onnx").write_bytes(bytes(len(MODEL)))
    assert local_file(entry()) == home.folder / "tiny.onnx"


def test_verify_refuses_a_right_name_with_wrong_bytes(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(MODEL + b"\x00")
    with pytest.raises(ModelError, match="detect models pull tiny"):
        verify(path, entry())


def test_verify_refuses_external_data_even_with_the_right_hash(tmp_path: Path) -> None:
    model = weights_model()
    model.graph.initializer.append(external_tensor())
    content = model.SerializeToString()
    path = tmp_path / "tiny.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="external data"):
        verify(path, entry("tiny", content))


# --- downloading, from a real server in this process


class ModelServer:
    """Serves one content with ranges; each request may be broken by ``act`` once."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.knows_ranges = True
        self.status = 200
        self.break_after: int | None = None
        self.ranges: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/tiny.onnx"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers["Range"]
        self.ranges.append(wanted)
        start = 0
        status = self.status
        if wanted and self.knows_ranges:
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
        body = self.content[start:]
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        if status == 206:
            total = len(self.content)
            request.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        request.end_headers()
        request.wfile.write(body[: self.break_after])

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join(5)
        self._http.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], ModelServer]]:
    servers: list[ModelServer] = []

    def start(content: bytes) -> ModelServer:
        servers.append(ModelServer(content))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


Serve = Callable[[bytes], ModelServer]


def test_a_model_is_downloaded_verified_and_kept(home: Zoo, serve: Serve) -> None:
    server = serve(MODEL)
    home.know(entry(urls=(server.url,)))
    progress: list[tuple[int, int]] = []

    found = find_model("tiny", on_progress=lambda had, wanted: progress.append((had, wanted)))

    assert found.path == home.cache / "tiny.onnx"
    assert found.path.read_bytes() == MODEL
    assert progress[-1] == (len(MODEL), len(MODEL))
    assert [path.name for path in home.cache.iterdir()] == ["tiny.onnx"]
    find_model("tiny")
    assert len(server.ranges) == 1  # the second time needs no network


def test_a_broken_download_goes_on_where_it_stopped(home: Zoo, serve: Serve) -> None:
    server = serve(MODEL)
    server.break_after = 100
    wanted = entry(urls=(server.url,))
    with pytest.raises(ModelError, match="try again"):
        pull(wanted)
    assert (home.cache / "tiny.onnx.part").stat().st_size == 100
    assert not (home.cache / "tiny.onnx").exists()

    server.break_after = None
    assert pull(wanted).content == MODEL
    assert server.ranges == [None, "bytes=100-"]


def test_two_processes_may_fetch_the_same_model(home: Zoo, serve: Serve) -> None:
    server = serve(MODEL)
    wanted = entry(urls=(server.url,))

    def the_other_one_finishes(had: int, size_bytes: int) -> None:
        if had == size_bytes:
            (home.cache / "tiny.onnx.part").replace(home.cache / "tiny.onnx")

    assert pull(wanted, on_progress=the_other_one_finishes).content == MODEL


def test_a_server_without_ranges_starts_anew(home: Zoo, serve: Serve) -> None:
    server = serve(MODEL)
    server.knows_ranges = False
    (home.cache / "tiny.onnx.part").write_bytes(b"x" * 50)
    assert pull(entry(urls=(server.url,))).content == MODEL


def test_a_wrong_part_is_fetched_once_more_from_its_beginning(home: Zoo, serve: Serve) -> None:
    server = serve(MODEL)
    (home.cache / "tiny.onnx.part").write_bytes(b"x" * 50)
    assert pull(entry(urls=(server.url,))).content == MODEL
    assert server.ranges == ["bytes=50-", None]


def test_a_complete_part_needs_no_network(home: Zoo, serve: Serve) -> None:
    server = serve(MODEL)
    (home.cache / "tiny.onnx.part").write_bytes(MODEL)
    assert pull(entry(urls=(server.url,))).content == MODEL
    assert server.ranges == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x" * len(MODEL), "SHA-256"),  # right size, wrong bytes
        (MODEL + b"more", "sends more"),
    ],
)
def test_something_else_is_discarded(home: Zoo, serve: Serve, content: bytes, message: str) -> None:
    server = serve(content)
    with pytest.raises(ModelError, match=message):
        pull(entry(urls=(server.url,)))
    assert list(home.cache.iterdir()) == []


def test_the_second_address_is_tried(home: Zoo, serve: Serve) -> None:
    missing, good = serve(b""), serve(MODEL)
    missing.status = 404
    assert pull(entry(urls=(missing.url, good.url))).content == MODEL


def test_no_network_is_a_clear_error(home: Zoo, serve: Serve) -> None:
    server = serve(MODEL)
    server.close()
    with pytest.raises(ModelError, match=r"download failed .*Check the network"):
        pull(entry(urls=(server.url,)))


def test_a_link_in_place_of_the_part_is_not_written_through(
    home: Zoo, serve: Serve, tmp_path: Path
) -> None:
    server = serve(MODEL)
    victim = tmp_path / "victim"
    victim.write_text(json.dumps("precious"))
    (home.cache / "tiny.onnx.part").symlink_to(victim)
    with pytest.raises(ModelError, match="cannot be written"):
        pull(entry(urls=(server.url,)))
    assert json.loads(victim.read_text()) == "precious"


def test_pull_keeps_a_good_file_and_replaces_a_bad_one(home: Zoo, serve: Serve) -> None:
    server = serve(MODEL)
    target = home.cache / "tiny.onnx"
    target.write_bytes(b"damaged")
    assert pull(entry(urls=(server.url,))).content == MODEL
    assert pull(entry(urls=(server.url,))).content == MODEL
    assert len(server.ranges) == 1
