"""demo_client.py against a real service with the embedded pair, and against a stub where the service must misbehave."""

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import demo_client
import httpx
import numpy as np
import pytest

from tests.support import REPO, Server, served
from visage_client import Client, ExtractedFace, ExtractedImage

SAMPLES = REPO / "misc" / "images"

# What a busy machine takes for a request is no news here.
PATIENT = {"REQUEST_TIMEOUT": "600"}

# Short form, long form, default: those of InsightFace-REST's client.
OPTIONS = [
    ("-p", "--port", 18081),
    ("-u", "--uri", "http://localhost"),
    ("-i", "--iters", 10),
    ("-t", "--threads", 12),
    ("-b", "--batch", 64),
    ("-d", "--dir", None),
    ("-n", "--num_files", 10000),
    ("-lf", "--limit_faces", 0),
    (None, "--embed", True),
    (None, "--embed_only", False),
    (None, "--use_msgpack", True),
]


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Server]:
    allowed = {"ROOT_IMAGES_DIR": str(SAMPLES), "URL_ALLOW": "127.0.0.1", "URL_TIMEOUT": "100", **PATIENT}
    with served(tmp_path_factory.mktemp("demo"), MODELS_DIR=str(models_dir), **allowed) as running:
        yield running


@pytest.fixture
def service(server: Server) -> Iterator[Client]:
    with demo_client.connect(server.url, 18081) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path, hopper: bytes, group: bytes) -> Path:
    """A portrait, a group further down, and a text."""
    made = tmp_path / "pictures"
    (made / "deeper").mkdir(parents=True)
    (made / "hopper.jpg").write_bytes(hopper)
    (made / "deeper" / "group.jpg").write_bytes(group)
    (made / "notes.txt").write_text("no picture")
    return made


@pytest.fixture(scope="module")
def astronaut() -> bytes:
    return (SAMPLES / "astronaut.jpg").read_bytes()


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a run of the client."""
    status = demo_client.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


class QuietServer(ThreadingHTTPServer):
    request_queue_size = 128  # of more connections than this at once the system drops some for a second or more

    def handle_error(self, *_: object) -> None: ...


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with QuietServer(("127.0.0.1", 0), handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http_server.server_port}"
        finally:
            http_server.shutdown()
            thread.join()


FACE = {"bbox": [1, 2, 31, 42], "prob": 0.9, "size": 30, "norm": 10.0, "gender": 1, "age": 31}


class Stub:
    """Answers /extract with one face a picture, after the refusals that it was told to give first."""

    def __init__(self, *refusals: tuple[int, dict[str, str]]) -> None:
        self.refusals = list(refusals)
        self.bodies: list[Any] = []

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        if path == "/info":
            return 200, {}, {"models": {"det_name": "stub", "rec_name": "stub", "ga_name": "stub"}}
        self.bodies.append(json.loads(body))
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return status, headers, {"detail": "come again"}
        images = self.bodies[-1]["images"]["data"]
        return 200, {}, {"took": {"total_ms": 1}, "data": [{"status": "ok", "faces": [FACE]} for _ in images]}

    @contextmanager
    def running(self) -> Iterator[str]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, headers, answer = stub.answer(
                    self.path, self.rfile.read(int(self.headers.get("Content-Length", 0)))
                )
                content = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), "Content-Type": "application/json"}.items():
                    self.send_header(name, value)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *_: object) -> None: ...

        with listening(Handler) as url:
            yield url


# --- The options


@pytest.mark.parametrize(("short", "long", "default"), OPTIONS)
def test_an_option_has_the_names_and_the_default_of_the_reference(
    short: str | None, long: str, default: object
) -> None:
    parser = demo_client.options()
    name = long.removeprefix("--")
    assert getattr(parser.parse_args([]), name) == default
    given = {bool: "False" if default else "True", int: "7"}.get(type(default), "text")
    changed = {getattr(parser.parse_args([spelling, given]), name) for spelling in (short, long) if spelling}
    assert len(changed) == 1 and changed != {default}


def test_the_options_are_those_of_the_wire_contract(spec: Path) -> None:
    line = next(
        line for line in (spec / "wire-contract.md").read_text("utf-8").splitlines() if line.startswith("`demo_client")
    )
    found = re.findall(r"(?:(-\w+)/)?(--\w+)(?: ([^\s,]+?))?(?=,|\.$)", line)
    ours = [(short or "", long, "" if default is None else str(default)) for short, long, default in OPTIONS]
    assert found == ours


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--embed_only"], True),
        (["--embed_only", "True"], True),
        (["--embed_only", "true"], True),
        (["--embed_only", "False"], False),
        (["--embed_only", "-i", "3"], True),
        ([], False),
    ],
)
def test_a_switch_is_a_flag_or_takes_a_text(arguments: list[str], expected: bool) -> None:
    assert demo_client.options().parse_args(arguments).embed_only is expected


@pytest.mark.parametrize(
    "arguments", [["--embed", "maybe"], ["-b", "0"], ["-t", "-1"], ["-n", "many"], ["-u", "http://[::"]]
)
def test_an_option_that_says_nothing_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        demo_client.main(arguments)
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_the_help_names_the_port_of_make_serve() -> None:
    assert "make serve" in demo_client.options().format_help()
    assert "-p 18080" in demo_client.options().format_help()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://localhost", "http://localhost:7"),
        ("https://faces.example.org/", "https://faces.example.org:7/"),
        ("127.0.0.1", "http://127.0.0.1:7"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("https://example.org/faces", "https://example.org:7/faces"),
    ],
)
def test_the_address_is_uri_and_port(uri: str, expected: str) -> None:
    with demo_client.connect(uri, 7) as service:
        assert service.url == httpx.URL(expected)


def test_a_key_is_taken_as_files_of_secrets_have_it_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VISAGE_KEY", "vk_secret\n")
    with Stub().running() as url, demo_client.connect(url, 1) as service:
        assert service.info().models["rec_name"] == "stub"
    monkeypatch.setenv("VISAGE_KEY", "vk_secret\nvk_other")
    with pytest.raises(SystemExit) as stopped:
        demo_client.main(["-u", "http://127.0.0.1"])
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert "secret" not in printed.err + printed.out and "the key" in printed.err and "-u http" not in printed.err


# --- The calls


def test_msgpack_json_and_a_bare_picture_give_the_same_faces(
    server: Server, service: Client, hopper: bytes, group: bytes
) -> None:
    with demo_client.connect(server.url, 18081, use_msgpack=False) as plain:
        as_json = demo_client.extract(plain, [hopper, group])
    as_msgpack = demo_client.extract(service, [hopper, group])
    vectors = [[face.vec for image in images for face in image.faces] for images in (as_json, as_msgpack)]
    assert len(vectors[0]) == 25
    assert vectors[0] == vectors[1]
    boxes = [[face.bbox for image in images for face in image.faces] for images in (as_json, as_msgpack)]
    assert boxes[0] == boxes[1]
    assert demo_client.extract_one(service, hopper).faces == as_msgpack[0].faces


def test_urls_are_paths_of_the_service_or_web_addresses(service: Client, hopper: bytes) -> None:
    class Samples(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(SAMPLES))

        def log_message(self, *_: object) -> None: ...

    with listening(Samples) as web:
        images = demo_client.extract_urls(service, ["grace_hopper.jpg", f"{web}/grace_hopper.jpg", "absent.jpg"])
    assert [image.status for image in images] == ["ok", "ok", "failed"]
    expected = demo_client.extract(service, [hopper])[0].faces
    assert images[0].faces == images[1].faces == expected
    assert "absent.jpg" in (images[2].traceback or "")


def test_fields_say_what_is_answered(service: Client, hopper: bytes, astronaut: bytes) -> None:
    images = demo_client.extract(service, [hopper, astronaut], return_landmarks=True, extract_embedding=False)
    faces = [face for image in images for face in image.faces]
    assert [len(face.landmarks or ()) for face in faces] == [5, 5]
    assert not any(face.vec for face in faces)


def test_crops_of_a_picture_have_the_embeddings_of_its_faces(service: Client, group: bytes) -> None:
    crops = demo_client.aligned_crops(service, group)
    assert {cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR).shape for crop in crops} == {(112, 112, 3)}
    faces = demo_client.extract(service, [group])[0].faces
    embedded = demo_client.embed_crops(service, crops)
    assert len(faces) == len(embedded) == 24
    # JPEG lies between the two.
    assert min(demo_client.similarity(*pair) for pair in zip(faces, embedded, strict=True)) > 0.95


def test_a_drawn_picture_has_the_size_of_the_sent_one_and_green_boxes(service: Client, hopper: bytes) -> None:
    before, after = (
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)
        for data in (hopper, demo_client.draw_detections(service, hopper))
    )
    assert before.shape == after.shape
    left, top, right, _ = demo_client.extract(service, [hopper])[0].faces[0].bbox or ()
    upper_edge = after[top, left:right] - before[top, left:right]
    assert upper_edge[:, 1].mean() > upper_edge[:, [0, 2]].mean() + 50


def test_verification_tells_one_person_from_two(service: Client, hopper: bytes, group: bytes, astronaut: bytes) -> None:
    limit = demo_client.recommended_limit(service)
    assert limit is not None
    assert demo_client.verify(service, hopper, astronaut) < limit < demo_client.verify(service, hopper, group)
    assert demo_client.verify(service, hopper, hopper) == pytest.approx(1, abs=1e-5)


def test_the_examples_are_all_run_and_told(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "-u", server.url, "--examples", "--save", tmp_path / "out")
    assert status == 0
    calls = [line.split()[0] for line in out.splitlines() if re.match(r" \w+  ", line)]
    assert calls[1:] == [
        "extract",
        "extract_one",
        "extract_urls",
        "aligned_crops",
        "embed_crops",
        "draw_detections",
        "verify",
    ]
    assert "failed" not in out
    assert cv2.imread(str(tmp_path / "out" / "faces_group.jpg")).shape == (880, 1320, 3)


def test_the_examples_say_why_the_service_could_not_fetch_a_picture(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "-u", server.url, "--examples", "--urls", "absent.jpg")
    assert status == 0
    assert "failed: File: 'absent.jpg' not found" in out
    assert "ROOT_IMAGES_DIR" in out


# --- A run over files


@pytest.mark.parametrize("use_msgpack", [True, False])
def test_a_run_shows_faces_failures_and_throughput(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str], use_msgpack: bool
) -> None:
    status, out, err = run(capsys, "-u", server.url, "-d", folder, "-i", 2, "-b", 2, "--use_msgpack", use_msgpack)
    assert (status, err) == (0, "")
    assert re.search(r"^ hopper\.jpg +0 +\d+,\d+,\d+,\d+ +0\.9\d\d +174 +\d+\.\d\d", out, re.M)
    assert re.search(r"^ deeper/group\.jpg +0 .*\n +1 ", out, re.M)
    assert re.search(r"^ notes\.txt +Can't decode file", out, re.M)
    assert re.search(r"^images +6 \(2 failed\) +[\d.]+ images/s", out, re.M)
    assert re.search(r"^faces +50 +[\d.]+ faces/s", out, re.M)
    assert re.search(r"^requests +4 +latency median \d+ ms, p95 \d+ ms", out, re.M)


def test_without_a_folder_the_sample_pictures_are_used(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "-u", server.url, "-i", 1)
    assert status == 0
    shown = [line.split()[0] for line in out.splitlines() if ".jpg" in line]
    assert shown == ["astronaut.jpg", "grace_hopper.jpg", "group.jpg"]
    assert "person" not in out


def test_the_sample_crops_are_used_for_embed_only(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "-u", server.url, "-i", 1, "--embed_only")
    assert status == 0
    assert re.search(r"^images +26 \(0 failed\)", out, re.M)


def test_detection_alone_has_no_norms(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "-u", server.url, "-i", 1, "--embed", False, "-lf", 1)
    assert "score" in out
    assert "norm" not in out
    assert re.search(r"^faces +3 ", out, re.M)


def test_saved_pictures_stand_beside_those_that_were_sent(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str], hopper: bytes
) -> None:
    status, out, _ = run(capsys, "-u", server.url, "-d", folder, "-i", 1, "--save", folder)
    assert status == 0
    assert "2 pictures with their faces drawn in" in out
    assert (folder / "hopper.jpg").read_bytes() == hopper
    assert cv2.imread(str(folder / "faces_hopper.jpg")).shape == (600, 512, 3)
    assert cv2.imread(str(folder / "deeper" / "faces_group.jpg")).shape == (880, 1320, 3)
    assert len(list(folder.rglob("*"))) == 6


def test_a_long_table_is_cut_and_says_so(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "-u", server.url, "-i", 1, "--rows", 5)
    assert "and 21 more faces: --rows 0 shows all" in out
    _, out, _ = run(capsys, "-u", server.url, "-i", 1, "--rows", 0)
    assert "more faces" not in out
    assert re.search(r"^ +23 ", out, re.M)


def test_a_run_where_nothing_is_a_picture_fails(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    status, out, _ = run(capsys, "-u", server.url, "-d", tmp_path, "-i", 1)
    assert status == 1
    assert "1 (1 failed)" in out


def test_requests_that_are_too_much_for_the_service_are_halved(
    tmp_path: Path, models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path, MODELS_DIR=str(models_dir), MAX_IMAGES="1", **PATIENT) as narrow:
        status, out, _ = run(capsys, "-u", narrow.url, "-i", 1)
    assert status == 0
    assert re.search(r"^images +3 \(0 failed\)", out, re.M)
    assert re.search(r"^faces +26 ", out, re.M)


def test_a_file_that_cannot_be_read_fails_alone(service: Client, hopper: bytes) -> None:
    def unreadable() -> bytes:
        raise PermissionError(13, "Permission denied")

    pictures = [demo_client.Picture("secret.jpg", unreadable), demo_client.Picture("hopper.jpg", lambda: hopper)]
    secret, read = demo_client.extract_batch(lambda contents: demo_client.extract(service, contents), pictures)
    assert (secret.name, secret.reason) == ("secret.jpg", "Permission denied")
    assert (read.name, read.reason, len(read.faces)) == ("hopper.jpg", "", 1)


# --- Printed elsewhere than on a terminal


def test_piped_output_has_no_control_characters_and_eighty_columns(server: Server, folder: Path) -> None:
    shutil.copy(folder / "hopper.jpg", folder / "\x1b[31mred\n.jpg")
    command = [sys.executable, REPO / "demo_client.py", "-u", server.url, "-d", folder, "-i", "1"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=200)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().split("\n")
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= 80
    assert any("?[31mred?.jpg" in line for line in lines)


# --- Services that are not there, busy, or something else


def test_an_absent_service_is_one_line_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound:  # bound and not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        status, out, err = run(capsys, "-u", "http://127.0.0.1", "-p", bound.getsockname()[1])
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "make serve" in err and "-p 18080" in err


def test_what_is_no_face_service_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    class Stranger(Stub):
        def answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
            return 200, {}, ["hello"]

    with Stranger().running() as url:
        status, out, err = run(capsys, "-u", url)
    assert (status, out) == (1, "")
    assert err == f"What answers at {url} is no face service: give another -p or -u\n"


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_service_is_asked_again_when_it_says(status: int, hopper: bytes) -> None:
    stub = Stub((status, {"Retry-After": "0"}), (status, {"Retry-After": "0"}))
    with stub.running() as url, demo_client.connect(url, 0, use_msgpack=False) as service:
        assert len(demo_client.extract(service, [hopper])[0].faces) == 1
    assert len(stub.bodies) == 3
    assert stub.bodies[0] == stub.bodies[2]


def test_the_pause_is_what_the_service_says(monkeypatch: pytest.MonkeyPatch, hopper: bytes) -> None:
    pauses: list[float] = []
    # Its name for the module, not the module: other threads sleep as well.
    monkeypatch.setattr("visage_client.client.time", SimpleNamespace(sleep=pauses.append))
    stub = Stub((503, {"Retry-After": "7"}), (503, {"Retry-After": "3"}))
    with stub.running() as url, demo_client.connect(url, 0, use_msgpack=False) as service:
        demo_client.extract(service, [hopper])
    assert pauses == [7, 3]


def test_patience_with_a_busy_service_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stub = Stub(*[(503, {"Retry-After": "3600"})] * 3)
    with stub.running() as url:
        status, out, _ = run(capsys, "-u", url, "-i", 1, "--use_msgpack", "False")
    assert status == 1
    assert len(stub.bodies) == 1
    assert re.search(r"^ grace_hopper\.jpg +503: come again", out, re.M)


def test_gender_and_age_are_shown_where_the_service_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    stub = Stub()
    with stub.running() as url:
        _, out, _ = run(capsys, "-u", url, "-i", 1, "--use_msgpack", "False")
    assert stub.bodies[0]["extract_ga"] is True
    assert re.search(r"^ group\.jpg +0 +1,2,31,42 +0\.900 +30 +M 31 +10\.00", out, re.M)


def test_files_are_sent_in_batches_and_again_for_each_iteration(capsys: pytest.CaptureFixture[str]) -> None:
    stub = Stub()
    with stub.running() as url:
        run(capsys, "-u", url, "-i", 2, "-b", 2, "-n", 5, "--cycle", "--use_msgpack", "False")
    assert sorted(len(body["images"]["data"]) for body in stub.bodies) == [1, 1, 2, 2, 2, 2]


def test_batches_are_posted_by_as_many_threads_as_asked_for() -> None:
    together = threading.Barrier(3, timeout=60)  # passes only if three come at a time
    threads: set[int] = set()

    def extract(contents: Sequence[bytes]) -> list[ExtractedImage]:
        threads.add(threading.get_ident())
        together.wait()
        return [ExtractedImage(faces=(ExtractedFace(size=30),)) for _ in contents]

    pictures = [demo_client.Picture("hopper.jpg", lambda: b"picture")]
    counted: list[int] = []
    results, answers, _ = demo_client.post_all(extract, [pictures] * 30, 3, 3, counted.append)
    assert len(threads) == 3
    assert (len(results), len(answers), counted) == (30, 90, [1] * 90)


def test_a_service_that_vanishes_ends_the_run_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    class Vanishing(Stub):
        def answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
            if path == "/extract":
                raise ConnectionAbortedError
            return super().answer(path, body)

    with Vanishing().running() as url:
        status, _, err = run(capsys, "-u", url, "-t", 1, "-i", 3)
    assert status == 1
    assert err.startswith(f"The service at {url} does not answer: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("name", "said"), [("absent", "is no folder"), ("empty", "has no files")])
def test_a_folder_without_files_is_told_in_one_line(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    status, _, err = run(capsys, "-u", server.url, "-d", tmp_path / name)
    assert status == 1
    assert err == f"{tmp_path / name} {said}\n"
