"""`visage serve` as a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.runnable import RUNNABLE
from tests.support import REPO, Server, b64, extract, models_folder, served, settings_of, wait_ready
from tests.wire import gauge
from visage.access.keyfile import KeyFile
from visage.api.connection import Connection
from visage.cli.serve import server_config

# A process or two each, which a busy machine takes its time to start.
pytestmark = pytest.mark.timeout(400)


def started(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command that is expected to end by itself."""
    env = {**os.environ, "INFERENCE_BACKEND": "onnx", "PYTHONPATH": str(REPO / "src"), **environ}
    return subprocess.run(
        [sys.executable, "-m", "visage", *command],
        cwd=REPO,
        env=env,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log().splitlines()]


def metrics(server: Server) -> str:
    return httpx.get(f"{server.url}/metrics", timeout=60).text


def is_listening(server: Server) -> bool:
    try:
        connected(server).close()
    except ConnectionRefusedError:
        return False
    return True


def connected(server: Server) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


@pytest.fixture(scope="module")
def server(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("server"), MODELS_DIR=str(models_dir), KEEP_ALL="True") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_process_runs_the_fast_loop_and_parser(workers: str) -> None:
    config = server_config(settings_of(NUM_WORKERS=workers), partial(lambda: None))
    assert config.get_loop_factory() is uvloop.new_event_loop
    config.load()
    assert config.http_protocol_class is Connection and issubclass(Connection, HttpToolsProtocol)


def test_a_picture_as_the_body_over_a_real_socket(client: httpx.Client, hopper: bytes) -> None:
    headers = {"content-type": "image/jpeg"}
    for body in (hopper, iter([hopper[:1000], hopper[1000:]])):  # of a length told beforehand, and in chunks
        answer = client.post("/extract?extract_embedding=false", content=body, headers=headers)
        assert len(answer.json()["data"][0]["faces"]) == 1
    # A refusal that does not wait for the body leaves the connection usable.
    for _ in range(3):
        refused = client.post("/extract?threshold=2", content=hopper * 20, headers=headers)
        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", "threshold"])
    assert client.get("/ready").status_code == 200


def test_a_served_face_is_found(client: httpx.Client, hopper: bytes) -> None:
    assert len(extract(client, hopper)["data"][0]["faces"]) == 1
    assert client.get("/ready").status_code == 200


def test_the_log_is_one_json_object_a_line(server: Server, client: httpx.Client, hopper: bytes) -> None:
    name = "told-in-the-log"
    client.post("/extract", json={"images": {"data": [b64(hopper)]}}, headers={"x-request-id": name})
    wait_ready(lambda: any(line.get("id") == name for line in lines(server)))
    (told,) = [line for line in lines(server) if line.get("id") == name]
    assert (told["event"], told["level"], told["status"]) == ("request", "info", 200)
    assert (told["images"], told["faces"], told["client"]) == (1, 1, "127.0.0.1")
    assert told["timestamp"].endswith("Z")
    assert b64(hopper)[:100] not in server.log()


def test_the_start_is_told_in_few_lines(server: Server) -> None:
    events = [line["event"] for line in lines(server)]
    ready = next(i for i, event in enumerate(events) if event.startswith("visage is ready: "))
    assert server.url in events[ready] and ready < 6
    assert any(event.startswith("KEEP_ALL has no effect") for event in events[:ready])
    assert any(event.startswith("loaded det=yunet@") for event in events[:ready])


def test_a_proxy_on_this_machine_is_believed(server: Server, client: httpx.Client) -> None:
    client.get(
        "/info", headers={"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https", "x-request-id": "proxied"}
    )
    wait_ready(lambda: any(line.get("id") == "proxied" for line in lines(server)))
    assert [line["client"] for line in lines(server) if line.get("id") == "proxied"] == ["192.0.2.7"]


def test_the_server_does_not_tell_what_it_is(client: httpx.Client) -> None:
    assert "server" not in client.get("/health").headers


def test_what_is_no_http_does_not_hurt(server: Server, client: httpx.Client) -> None:
    for garbage in (
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"POST /extract HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"",
    ):
        with connected(server) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert client.get("/health").status_code == 200


def test_a_caller_who_hangs_up_leaves_nobody_inside(server: Server, client: httpx.Client, hopper: bytes) -> None:
    extract(client, hopper)
    before = gauge(client.get("/metrics").text, "visage_images_total")
    body = json.dumps({"images": {"data": [b64(hopper)] * 200}}).encode()  # far more than is done when the first is
    head = f"POST /extract HTTP/1.1\r\nHost: x\r\nX-Request-Id: left\r\nContent-Length: {len(body)}\r\n\r\n"
    with connected(server) as connection:
        connection.sendall(head.encode() + body)
        wait_ready(lambda: gauge(client.get("/metrics").text, "visage_images_total") > before)
        assert gauge(client.get("/metrics").text, "visage_requests_inside") == 1
    wait_ready(lambda: any(line.get("id") == "left" for line in lines(server)), 60)
    (told,) = [line for line in lines(server) if line.get("id") == "left"]
    assert told["status"] == 499
    assert gauge(client.get("/metrics").text, "visage_requests_inside") == 0


def test_a_proxy_elsewhere_is_not_believed_unless_named(models_dir: Path, tmp_path: Path) -> None:
    with served(tmp_path, MODELS_DIR=str(models_dir), FORWARDED_ALLOW_IPS="192.0.2.1") as server:
        headers = {"x-forwarded-for": "192.0.2.7", "x-request-id": "spoofed"}
        httpx.get(f"{server.url}/info", headers=headers, timeout=60)
        wait_ready(lambda: any(line.get("id") == "spoofed" for line in lines(server)))
        assert [line["client"] for line in lines(server) if line.get("id") == "spoofed"] == ["127.0.0.1"]


def test_a_request_inside_is_answered_before_the_process_ends(models_dir: Path, tmp_path: Path, group: bytes) -> None:
    body = json.dumps({"images": {"data": [b64(group)] * 3}, "extract_embedding": False}).encode()
    with served(tmp_path, MODELS_DIR=str(models_dir)) as server:
        caller = HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        caller.request("POST", "/extract", body[:-1], headers)
        wait_ready(lambda: gauge(metrics(server), "visage_requests_inside") == 1)  # until its last byte comes
        server.process.send_signal(signal.SIGTERM)
        wait_ready(lambda: not is_listening(server))
        time.sleep(2)  # a caller who is slow has the time for it, too
        caller.send(body[-1:])
        answer = caller.getresponse()
        assert [len(image["faces"]) >= 20 for image in json.load(answer)["data"]] == [True] * 3
        caller.close()
        assert server.process.wait(60) in (0, -signal.SIGTERM)
        assert not [line for line in lines(server) if line["level"] in ("error", "critical")]
        assert "Traceback" not in server.log()


def test_two_workers_share_port_and_metrics(models_dir: Path, tmp_path: Path, hopper: bytes) -> None:
    with served(tmp_path, MODELS_DIR=str(models_dir), NUM_WORKERS="2") as server:
        wait_ready(lambda: sum("visage is ready" in line["event"] for line in lines(server)) >= 2, 90)

        def ask(_: int) -> int:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                return len(extract(client, hopper)["data"][0]["faces"])

        with ThreadPoolExecutor(8) as callers:
            assert list(callers.map(ask, range(24))) == [1] * 24
        for _ in range(4):  # whichever worker is asked, it tells of both
            text = metrics(server)
            assert gauge(text, "visage_images_total") == 24
            assert gauge(text, "visage_ready") == 1
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert "Traceback" not in server.log()


def workers_of(server: Server) -> list[psutil.Process]:
    children = psutil.Process(server.pid).children()  # another one looks after shared memory
    return [process for process in children if any("spawn_main" in word for word in process.cmdline())]


def test_a_worker_that_is_killed_while_it_is_asked_is_not_waited_for_as_if_it_hung(
    models_dir: Path, tmp_path: Path
) -> None:
    with served(tmp_path, MODELS_DIR=str(models_dir), NUM_WORKERS="2") as server:
        wait_ready(lambda: server.log().count("visage is ready") == 2)
        killed = workers_of(server)[0]
        killed.suspend()
        time.sleep(2)  # it is asked twice a second, and cannot answer
        killed.kill()
        killed.wait(30)  # until it is taken notice of: half a minute before it counts as hanging
        wait_ready(lambda: server.log().count("visage is ready") == 3)


class Inside:
    """A caller who has sent `sent` bytes of a picture, and no more: inside until the connection ends."""

    def __init__(self, server: Server, sent: int) -> None:
        self.sent = sent
        self._connection = connected(server)
        head = b"POST /extract HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 99999\r\n\r\n"
        self._connection.sendall(head + b"x" * sent)
        self._connection.setblocking(False)

    def is_there(self) -> bool:
        """Whether the worker that let it in still lives."""
        try:
            return self._connection.recv(1) != b""
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False

    def leave(self) -> None:
        self._connection.close()


def test_gauges_of_several_workers_are_those_of_all_that_live_whoever_is_asked(
    models_dir: Path, tmp_path: Path
) -> None:
    with served(tmp_path, MODELS_DIR=str(models_dir), NUM_WORKERS="2") as server, ExitStack() as leaving:
        wait_ready(lambda: server.log().count("visage is ready") == 2)

        def stand() -> set[tuple[float, float]]:
            """Requests and bytes inside, as several workers tell them: a connection each."""
            told = [metrics(server) for _ in range(12)]
            return {(gauge(text, "visage_requests_inside"), gauge(text, "visage_bytes_inside")) for text in told}

        assert stand() == {(0, 0)}
        callers = [Inside(server, 100 + i) for i in range(24)]
        for caller in callers:
            leaving.callback(caller.leave)
        wait_ready(lambda: stand() == {(24, sum(caller.sent for caller in callers))})
        kill_the_busiest_worker(server)
        left = [caller for caller in callers if caller.is_there()]
        assert len(left) <= 12
        expected = {(len(left), sum(caller.sent for caller in left))}
        wait_ready(lambda: stand() == expected)
        wait_ready(lambda: server.log().count("visage is ready") == 3)  # another one takes its place
        assert stand() == expected
        assert {gauge(metrics(server), "visage_model_in_memory") for _ in range(6)} == {4}  # two networks each
        leaving.close()
        wait_ready(lambda: stand() == {(0, 0)})


def kill_the_busiest_worker(server: Server) -> None:
    """kill -9 of the one that has the most callers: how many each took is the system's choice."""
    busiest = max(workers_of(server), key=lambda process: len(process.net_connections("tcp")))
    busiest.kill()
    busiest.wait(60)


def test_a_network_that_no_worker_can_load_ends_them_all(models_dir: Path, tmp_path: Path) -> None:
    folder = models_folder(
        tmp_path / "models",
        {"no_scrfd": {"family": "scrfd", "licence": {"id": "own"}}},
        {"no_scrfd": models_dir / "onnx" / "yunet" / "yunet.prepared.onnx"},  # a network of another family
    )
    for workers in ("1", "2"):
        done = started(
            "serve", MODELS_DIR=str(folder), DET_NAME="no_scrfd", REC_NAME="None", PORT="0", NUM_WORKERS=workers
        )
        assert done.returncode == 1, done.stderr
        assert "visage is ready" not in done.stderr


def test_a_taken_port_is_one_line(models_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = started("serve", MODELS_DIR=str(models_dir), PORT=port)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("visage: Configuration error: cannot listen") and f"PORT={port}" in line


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DET_NAME": "nonesuch"}, ["DET_NAME='nonesuch'", "yunet"]),
        ({"REC_NAME": "yunet"}, ["REC_NAME='yunet'", "detection"]),
        ({"PORT": "many"}, ["PORT='many'"]),
        ({"URL_ALLOW": "a/b"}, ["URL_ALLOW", "a/b"]),
        ({"INFERENCE_BACKEND": "abacus"}, ["abacus"]),
        ({"DET_NAME": "scrfd_10g_bnkps"}, ["scrfd_10g_bnkps"]),
        ({"HOST": "192.0.2.1"}, ["HOST=192.0.2.1"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("command", ["serve"])
def test_a_wrong_setting_is_one_line(models_dir: Path, command: str, environ: dict[str, str], said: list[str]) -> None:
    done = started(command, **({"MODELS_DIR": str(models_dir), "PORT": "0"} | environ))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("visage: ") and all(words in line for words in said)


def test_a_wrong_command_is_told_with_the_choice() -> None:
    done = started("dance")
    assert done.returncode == 2 and "serve" in done.stderr and "prepare" in done.stderr
    assert started().returncode == 2


def test_the_version_is_told() -> None:
    done = started("--version")
    assert done.returncode == 0 and done.stdout.startswith("visage ")


def test_to_tell_the_version_nothing_of_the_service_is_imported() -> None:
    code = "import sys, visage.__main__ as m\ntry: m.main(['--version'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "visage.__main__" in done.stdout and "numpy" not in done.stdout.split()


def test_preparing_leaves_nothing_to_do_for_a_start(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "models.json").write_bytes((REPO / "models" / "models.json").read_bytes())
    done = started("prepare", MODELS_DIR=str(models))
    assert done.returncode == 0, done.stderr
    assert "prepared in" in done.stderr and (models / "onnx" / "sface" / "sface.prepared.onnx").is_file()
    files = {path: path.stat().st_mtime_ns for path in models.rglob("*.onnx")}
    with served(tmp_path, MODELS_DIR=str(models)) as server:
        assert not [line for line in lines(server) if " prepared: " in line["event"]]
    assert {path: path.stat().st_mtime_ns for path in models.rglob("*.onnx")} == files


@pytest.mark.parametrize("name", [*RUNNABLE, "abacus"])
def test_what_is_prepared_for_may_be_named_whatever_the_environment_says(models_dir: Path, name: str) -> None:
    done = started("prepare", "--backend", name, MODELS_DIR=str(models_dir), INFERENCE_BACKEND="nonesuch")
    if name in RUNNABLE:
        assert done.returncode == 0, done.stderr
        assert f"sface@fb143eea0783 ({name})" in done.stderr and "prepared in" in done.stderr
    else:
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1 and line.startswith("visage: Backend unavailable: ") and "'abacus'" in line


def test_other_machines_are_let_in_only_when_somebody_says_how(tmp_path: Path) -> None:
    done = started("serve", HOST="0.0.0.0", PORT="0", AUTH="", MODELS_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "HOST=0.0.0.0" in done.stderr and "AUTH=keys" in done.stderr and "AUTH=off" in done.stderr
    assert not any(tmp_path.iterdir())


def test_an_audit_log_that_cannot_be_written_stops_the_start_before_anything_is_loaded(tmp_path: Path) -> None:
    done = started("serve", PORT="0", AUDIT_LOG=str(tmp_path / "absent" / "audit"), MODELS_DIR=str(tmp_path / "models"))
    assert done.returncode == 1
    assert "AUDIT_LOG=" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "models").exists()


def test_worker_processes_ask_for_the_same_keys_and_share_a_keys_rate(tmp_path: Path, models_dir: Path) -> None:
    file = KeyFile(tmp_path)
    _, secret = file.add("desk", frozenset({"read"}), rate=10)
    environ = {"AUTH": "keys", "DATA_DIR": str(tmp_path), "NUM_WORKERS": "2", "MODELS_DIR": str(models_dir)}

    def asked(url: str) -> int:
        shown = {"Authorization": f"Bearer {secret}"}
        return httpx.get(f"{url}/info", headers=shown, timeout=60).status_code  # a connection each

    with served(tmp_path, **environ) as server:
        wait_ready(lambda: sum("visage is ready" in line["event"] for line in lines(server)) >= 2, 90)
        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(asked, [server.url] * 40))
        came = (time.monotonic() - began) / 6  # while they asked
        assert 10 <= statuses.count(200) <= 10 + came + 1
        assert set(statuses) == {200, 429}
        file.revoke("desk")
        # What is written just then is waited for a moment, and else seen at the next request.
        wait_ready(lambda: {asked(server.url) for _ in range(10)} == {401})
