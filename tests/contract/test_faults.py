"""Faults of the reference (spec/reference-faults.md) that its clients met over HTTP; the number is in the name."""

import asyncio
import base64
import json
import math
import resource
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import msgpack
import psutil
import pytest

from tests.support import Client, Server, b64, constant_client, extract, served
from tests.wire import CROP, PHOTO, TEXT, HeldDetector, gauge, jpeg
from visage.images import png

GOOD, BAD = b64(PHOTO), b64(TEXT)
MSGPACK = "application/x-msgpack"


@pytest.fixture(scope="module")
def constant() -> Iterator[Client]:
    with constant_client() as client:
        yield client


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder for local paths, beside a file that is nobody's business."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(PHOTO)
    (tmp_path / "secret.jpg").write_bytes(PHOTO)
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    return folder


def counts(answer: Any) -> list[int]:
    return [len(image["faces"]) for image in answer["data"]]


def test_fault_04_nothing_compiles_on_the_first_request(models_dir: Path, hopper: bytes, tmp_path: Path) -> None:
    fresh = {"NUMBA_CACHE_DIR": str(tmp_path / "numba"), "NUMBA_DEBUG_CACHE": "1", "PYTHONUNBUFFERED": "1"}
    with served(tmp_path, MODELS_DIR=str(models_dir), **fresh) as server, client_at(server) as client:
        compiled = server.log().count("data saved")
        assert compiled > 0
        assert len(extract(client, hopper)["data"][0]["faces"]) == 1
        assert server.log().count("data saved") == compiled


def test_fault_05_health_answers_while_every_worker_is_busy() -> None:
    detector = HeldDetector()
    with (
        constant_client(runtime={"detector": detector, "workers": 2}) as client,
        ThreadPoolExecutor(4) as callers,
    ):
        waiting = [callers.submit(extract, client, PHOTO) for _ in range(4)]
        try:
            assert detector.begun.acquire(timeout=50)
            assert client.get("/health").json() == {"status": "ok"}
            assert client.get("/ready").status_code == 200
            assert gauge(client.get("/metrics").text, "visage_requests_inside") >= 1
            assert not any(future.done() for future in waiting)
        finally:
            detector.let_go.set()
        assert [counts(future.result()) for future in waiting] == [[2]] * 4


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("nonsense;;;=", "application/json"),
        (MSGPACK, MSGPACK),
        (f"{MSGPACK}, */*", MSGPACK),
        (f"*/*, {MSGPACK}", MSGPACK),
        ("application/msgpack", MSGPACK),
        (f"{MSGPACK};q=0.9, application/json;q=0.5", MSGPACK),
        (f"{MSGPACK};q=0.5, application/json;q=0.9", "application/json"),
        (f"application/json, {MSGPACK}", "application/json"),
        (f"{MSGPACK};q=0, */*", "application/json"),
    ],
)
def test_fault_06_the_accept_header_is_understood(constant: Client, accept: str | None, wanted: str) -> None:
    request = constant.build_request("POST", "/extract", json={"images": {"data": [GOOD]}})
    if accept is None:
        del request.headers["accept"]
    else:
        request.headers["accept"] = accept
    answer = constant.send(request)
    assert (answer.status_code, answer.headers["content-type"]) == (200, wanted)
    read = msgpack.unpackb if wanted == MSGPACK else json.loads
    assert counts(read(answer.content)) == [2]


@pytest.mark.parametrize(
    ("accept", "kind", "magic"),
    [
        ("*/*", "image/jpeg", b"\xff\xd8\xff"),
        ("image/jpeg", "image/jpeg", b"\xff\xd8\xff"),
        ("image/png", "image/png", b"\x89PNG\r\n\x1a\n"),
        ("image/png, image/jpeg;q=0.5", "image/png", b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_fault_07_pictures_are_what_their_type_says(constant: Client, accept: str, kind: str, magic: bytes) -> None:
    for answer in (
        constant.post("/draw_detections", json={"images": {"data": [GOOD]}}, headers={"accept": accept}),
        constant.post("/multipart/draw_detections", files={"file": ("a", PHOTO)}, headers={"accept": accept}),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert answer.content.startswith(magic)


def test_fault_07_an_undecodable_upload_is_a_problem_of_the_caller(constant: Client) -> None:
    answer = constant.post("/multipart/draw_detections", files={"file": ("a.jpg", TEXT)})
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:visage:image-undecodable"


def test_fault_08_only_files_of_the_folder_are_read(pictures: Path) -> None:
    outside = ["../secret.jpg", str(pictures.parent / "secret.jpg"), "link.jpg", "/etc/passwd", "x/../../secret.jpg"]
    with constant_client(ROOT_IMAGES_DIR=str(pictures)) as client:
        answer = client.post("/extract", json={"images": {"urls": ["good.jpg", *outside, "none.jpg"]}})
        good, *refused, missing = answer.json()["data"]
        assert len(good["faces"]) == 2
        assert {image["error"]["type"] for image in refused} == {"urn:visage:path-forbidden"}
        assert missing["error"]["type"] == "urn:visage:image-unreachable"
        assert [client.post("/draw_detections", json={"images": {"urls": [name]}}).status_code for name in outside] == [
            403
        ] * len(outside)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.jpg",
        "http://localhost/a.jpg",
        "http://[::1]/a.jpg",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/a.jpg",
        "http://0x7f000001/a.jpg",
        "http://[::ffff:127.0.0.1]/a.jpg",
    ],
)
def test_fault_08_no_address_of_the_inside_is_called(constant: Client, url: str) -> None:
    answer = constant.post("/extract", json={"images": {"data": [GOOD], "urls": [url]}})
    (image,) = answer.json()["data"]
    assert image["error"]["type"] == "urn:visage:url-forbidden"
    assert constant.post("/draw_detections", json={"images": {"urls": [url]}}).status_code == 403


def test_fault_08_no_traceback_and_no_server_path_is_told(pictures: Path) -> None:
    with constant_client(ROOT_IMAGES_DIR=str(pictures)) as client:
        urls = ["../secret.jpg", "none.jpg", "link.jpg", ".", "\0", "x" * 5000, "http://", "http://127.0.0.1:1/"]
        answers = [client.post("/extract", json={"images": {"urls": urls}})]
        answers.append(client.post("/extract", json={"images": {"data": [BAD, "%%%", ""]}}))
        answers += [client.post("/draw_detections", json={"images": {"urls": [url]}}) for url in urls]
        for answer in answers:
            assert answer.status_code < 500 or answer.status_code == 502
            assert "Traceback (most" not in answer.text and ".py" not in answer.text
            assert str(pictures.parent) not in answer.text
        assert all(len(image["traceback"]) < 400 for image in answers[0].json()["data"])


@pytest.mark.parametrize("version", [None, "0.7", "0.9"])
def test_fault_08_info_shows_no_header_values(version: str | None) -> None:
    more = {"COMPAT_API": version} if version else {}
    with constant_client(DEF_IMG_REQ_HEADERS='{"Authorization": "Bearer s3cr3t"}', **more) as client:
        answer = client.get("/info")
    assert answer.status_code == 200 and "s3cr3t" not in answer.text
    if version != "0.7":
        assert list(answer.json()["defaults"]["img_req_headers"]) == ["Authorization"]


def test_fault_08_no_other_origin_may_read_answers(constant: Client) -> None:
    answer = constant.get("/info", headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_fault_09_each_crop_has_an_outcome_of_its_own(constant: Client) -> None:
    crops = [CROP, TEXT, jpeg(224, 224), jpeg(100, 50), CROP]
    answer = extract(constant, *crops, embed_only=True)
    assert [image["status"] for image in answer["data"]] == ["ok", "failed", "ok", "failed", "ok"]
    assert [image["faces"][0]["status"] for image in answer["data"]] == ["ok", "failed", "ok", "failed", "ok"]
    assert [len(image["faces"][0].get("vec") or []) for image in answer["data"]] == [512, 0, 512, 0, 512]
    assert "224×224" in answer["data"][2]["warnings"][0]
    assert answer["data"][3]["error"]["type"] == "urn:visage:crop-rejected"


def test_fault_20_a_stub_and_a_strip_leave_their_neighbours_alone(real: Client, hopper: bytes) -> None:
    stub, strip = hopper[:100], jpeg(5000, 1)
    answer = extract(real, hopper, stub, strip, jpeg(1, 5000), hopper)
    assert [image["status"] for image in answer["data"]] == ["ok", "failed", "ok", "ok", "ok"]
    assert counts(answer) == [1, 0, 0, 0, 1]


def huge_png(side: int) -> bytes:
    """A whole and valid picture of side × side black pixels, one bit each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_fault_21_a_bomb_is_refused_by_its_header(constant: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    real = png.by_opencv

    def watched(data: bytes) -> Any:
        decoded.append(len(data))
        return real(data)

    monkeypatch.setattr(png, "by_opencv", watched)
    good, bomb = huge_png(96), huge_png(20_000)
    assert len(bomb) < 100_000
    extract(constant, good)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = extract(constant, good, bomb, good)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert [image["status"] for image in answer["data"]] == ["ok", "failed", "ok"]
    assert answer["data"][1]["error"]["type"] == "urn:visage:image-too-large"
    assert decoded == [len(good)] * 3
    assert grown < 100 * 1024  # KiB; decoded it has 1.2 GB


def test_fault_23_a_threshold_of_null_is_the_default(constant: Client) -> None:
    assert counts(extract(constant, PHOTO, threshold=None)) == [2]
    with constant_client(DEF_DET_THRESH="0.8") as client:
        assert counts(extract(client, PHOTO, threshold=None)) == [1]
        assert counts(extract(client, PHOTO)) == [1]
        assert counts(extract(client, PHOTO, threshold=0.5)) == [2]


@pytest.mark.parametrize("threshold", [0, -1, 2, 1.0001, math.nan, math.inf, "many", [0.5], "NaN"])
def test_fault_23_a_threshold_out_of_range_is_refused(constant: Client, threshold: Any) -> None:
    body = {"images": {"data": [GOOD]}, "threshold": threshold}
    packed = {"content-type": MSGPACK}
    answers = [constant.post("/extract", content=msgpack.packb(body), headers=packed)]
    text = json.dumps(body)  # NaN and Infinity as Python writes them
    answers += [
        constant.post(path, content=text, headers={"content-type": "application/json"})
        for path in ("/extract", "/draw_detections")
    ]
    form = {"threshold": str(threshold)}
    answers.append(constant.post("/multipart/draw_detections", files={"file": ("a", PHOTO)}, data=form))
    answers.append(constant.post("/multipart/extract", files={"files": ("a", PHOTO)}, data=form))
    for answer in answers:
        assert answer.status_code == 422, answer.text
        assert isinstance(answer.json()["detail"], list)


def test_fault_24_urls_win_over_data_and_that_is_said(pictures: Path) -> None:
    with constant_client(ROOT_IMAGES_DIR=str(pictures)) as client:
        body = {"images": {"data": [BAD, BAD], "urls": ["good.jpg"]}}
        answer = client.post("/extract", json=body).json()
        assert counts(answer) == [2]
        assert "images.data" in answer["warnings"][0]
        assert "warnings" not in client.post("/extract", json={"images": {"urls": ["good.jpg"]}}).json()
    with constant_client(ROOT_IMAGES_DIR=str(pictures), COMPAT_API="0.9") as client:
        assert list(client.post("/extract", json=body).json()) == ["took", "data"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/msgpack",
        "application/x-msgpack",
        "application/vnd.msgpack",
        "application/msgpack; charset=utf-8",
        "Application/X-MsgPack;charset=UTF-8",
    ],
)
def test_fault_25_every_spelling_of_msgpack_is_read(constant: Client, content_type: str) -> None:
    body = msgpack.packb({"images": {"data": [PHOTO]}})
    answer = constant.post("/extract", content=body, headers={"content-type": content_type})
    assert (answer.status_code, counts(answer.json())) == (200, [2])


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "text/plain", "application/octet-stream"])
def test_fault_25_everything_else_is_read_as_json(constant: Client, content_type: str) -> None:
    body = json.dumps({"images": {"data": [GOOD]}})
    answer = constant.post("/extract", content=body, headers={"content-type": content_type})
    assert (answer.status_code, counts(answer.json())) == (200, [2])


def test_fault_26_an_unreachable_url_is_given_up_within_its_time() -> None:
    """A host that takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg"
        with constant_client(URL_ALLOW="127.0.0.1", URL_TIMEOUT="0.3") as client:
            answer = client.post("/extract", json={"images": {"urls": [url]}}).json()
            draw = client.post("/draw_detections", json={"images": {"urls": [url]}})
    (image,) = answer["data"]
    assert image["traceback"] == f"{url} did not answer within 0.3 s"
    assert draw.status_code == 502 and draw.json()["detail"] == image["traceback"]


def test_fault_26_a_closed_port_is_one_line() -> None:
    with socket.socket() as taken, constant_client(URL_ALLOW="127.0.0.0/8") as client:
        taken.bind(("127.0.0.1", 0))  # not listening, and nobody else's meanwhile
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.jpg"
        (image,) = client.post("/extract", json={"images": {"urls": [url]}}).json()["data"]
    assert image["traceback"] == f"{url} cannot be fetched: no connection"


def test_fault_27_a_cut_jpeg_is_processed_and_that_is_said(real: Client, hopper: bytes) -> None:
    cut, whole = extract(real, hopper[: len(hopper) * 9 // 10], hopper)["data"]
    assert (cut["status"], len(cut["faces"])) == ("ok", 1)
    assert "cut short" in cut["warnings"][0]
    assert "warnings" not in whole


def test_fault_29_the_first_face_does_not_break_the_service(real: Client, group: bytes) -> None:
    """With every attribute that alignment and suppression take part in."""
    (image,) = extract(real, group, return_face_data=True, return_landmarks=True, threshold=0.3)["data"]
    assert len(image["faces"]) >= 20
    assert all(base64.b64decode(face["facedata"]).startswith(b"\xff\xd8") for face in image["faces"])


# ---------------------------------------------------------------- 19: a thousand callers at once

CALLERS = 1000
REMAINING = 60  # seconds until the memory must be given back


def client_at(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, timeout=60)


@pytest.mark.timeout(400)
def test_fault_19_a_thousand_callers_at_once_are_answered_or_turned_away(
    models_dir: Path, hopper: bytes, tmp_path: Path
) -> None:
    _allow_connections(CALLERS + 500)
    body = json.dumps({"images": {"data": [b64(hopper)]}}).encode()
    # None of the few at first is given up, however busy the machine is.
    with served(tmp_path, MODELS_DIR=str(models_dir), REQUEST_TIMEOUT="110") as server, client_at(server) as client:
        process = psutil.Process(server.pid)
        host, port = server.url.removeprefix("http://").split(":")
        assert set(asyncio.run(_burst(host, int(port), body, 32))) == {200}
        _settle(client, process)
        before = process.memory_info().rss
        statuses = Counter(asyncio.run(_burst(host, int(port), body, CALLERS)))
        after = _settle(client, process, wanted=int(before * 1.10))
        assert sum(statuses.values()) == CALLERS
        assert set(statuses) <= {200, 503}
        assert statuses[200] > 0
        assert after <= before * 1.10, f"{before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after"
        assert len(extract(client, hopper)["data"][0]["faces"]) == 1


def _allow_connections(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            pytest.skip(f"{count} open files are needed, the system allows {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


async def _burst(host: str, port: int, body: bytes, callers: int) -> list[int]:
    """The status that each of so many callers got, who connect before the first of them speaks."""
    gate = asyncio.Event()
    connected = asyncio.Semaphore(0)
    head = (
        f"POST /extract HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )

    async def call() -> int:
        reader, writer = await asyncio.open_connection(host, port)
        connected.release()
        await gate.wait()
        try:
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            status = int(answer.split(b" ", 2)[1])
            if status == 503:
                assert b"retry-after:" in answer.lower()
            await reader.read()
            return status
        except (ConnectionError, asyncio.IncompleteReadError):
            return 0  # neither answered nor turned away
        finally:
            writer.close()

    async with asyncio.timeout(150), asyncio.TaskGroup() as group:
        tasks = [group.create_task(call()) for _ in range(callers)]
        for _ in range(callers):
            await connected.acquire()
        gate.set()
        async with asyncio.timeout(120):
            await asyncio.gather(*tasks)
    return [task.result() for task in tasks]


def _settle(client: Any, process: psutil.Process, wanted: int = 0) -> int:
    """Wait until nobody is inside and the memory is below `wanted`; its size then, or when the time is over."""
    pause = threading.Event()
    sizes = [process.memory_info().rss]
    for _ in range(REMAINING if wanted else 8):
        pause.wait(1)
        sizes.append(process.memory_info().rss)
        if sizes[-1] <= wanted and gauge(client.get("/metrics").text, "visage_requests_inside") == 0:
            break
    return sizes[-1]
