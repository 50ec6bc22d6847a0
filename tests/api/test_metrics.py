import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from visage.api.living import Living
from visage.api.metrics import Metrics
from visage.errors import ImageTooLarge, Overloaded
from visage.faces import Face, ImageFaces, Outcome
from visage.rack import Standing


def values(metrics: Metrics) -> dict[str, float]:
    """Sample name with its labels → value."""
    text, media_type = metrics.render()
    assert media_type.startswith("text/plain")
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def image_with(faces: int) -> Outcome:
    face = Face(0, np.zeros(4, np.float32), 0.9, np.zeros((5, 2), np.float32))
    return Outcome(ImageFaces([face] * faces, 1.0, (10, 10)))


def test_images_and_their_faces_are_counted() -> None:
    metrics = Metrics()
    for outcome in (image_with(2), image_with(0), image_with(3), Outcome(ImageTooLarge("too large"))):
        metrics.image(outcome)
    seen = values(metrics)
    assert seen["visage_images_total status=ok"] == 3
    assert seen["visage_images_total status=failed"] == 1
    assert seen["visage_faces_total"] == 5
    assert seen["visage_failures_total kind=image-too-large"] == 1


def test_failed_requests_are_counted_by_kind() -> None:
    metrics = Metrics()
    metrics.failure(Overloaded("full"))
    metrics.failure(Overloaded("full"))
    metrics.unforeseen()
    seen = values(metrics)
    assert seen["visage_failures_total kind=overloaded"] == 2
    assert seen["visage_failures_total kind=unforeseen"] == 1


def test_requests_are_counted_by_route_method_and_status_and_timed_by_route() -> None:
    metrics = Metrics()
    metrics.request("/extract", "POST", 200, 0.2)
    metrics.request("/extract", "POST", 200, 0.004)
    metrics.request("/extract", "POST", 503, 0.001)
    seen = values(metrics)
    assert seen["visage_requests_total method=POST route=/extract status=200"] == 2
    assert seen["visage_requests_total method=POST route=/extract status=503"] == 1
    assert seen["visage_request_seconds_count route=/extract"] == 3
    assert seen["visage_request_seconds_sum route=/extract"] == pytest.approx(0.205)
    assert seen["visage_request_seconds_bucket le=0.005 route=/extract"] == 2


def test_stages_and_batches_are_measured() -> None:
    metrics = Metrics()
    metrics.stage("detect", 0.03)
    metrics.batch("embedding", 8)
    metrics.batch("embedding", 1)
    seen = values(metrics)
    assert seen["visage_stage_seconds_count stage=detect"] == 1
    assert seen["visage_batch_size_sum stage=embedding"] == 9
    assert seen["visage_batch_size_bucket le=1.0 stage=embedding"] == 1


def test_queues_and_the_door_are_looked_at_when_asked() -> None:
    metrics, waiting, inside = Metrics(), [3], [(2, 1000)]
    networks = [("det", "yunet", "ab12"), ("det", "scrfd", "cd34")]
    assert values(metrics)["visage_ready"] == 0
    metrics.ready(
        networks,
        lambda: [Standing("detection", "yunet", True, waiting[0]), Standing("detection", "scrfd", waiting[0] == 0, 0)],
    )
    metrics.watch_door(lambda: inside[0])
    seen = values(metrics)
    assert seen["visage_ready"] == 1
    assert seen["visage_model_info name=yunet role=det sha256=ab12"] == 1
    assert seen["visage_model_info name=scrfd role=det sha256=cd34"] == 1
    assert seen["visage_queue_depth model=yunet stage=detection"] == 3
    assert seen["visage_model_in_memory model=yunet stage=detection"] == 1
    assert seen["visage_model_in_memory model=scrfd stage=detection"] == 0
    assert (seen["visage_requests_inside"], seen["visage_bytes_inside"]) == (2, 1000)
    waiting[0], inside[0] = 0, (0, 0)
    seen = values(metrics)
    assert (seen["visage_queue_depth model=yunet stage=detection"], seen["visage_requests_inside"]) == (0, 0)
    assert seen["visage_model_in_memory model=scrfd stage=detection"] == 1


def test_two_applications_do_not_share_their_counts() -> None:
    one, other = Metrics(), Metrics()
    one.unforeseen()
    assert "visage_failures_total kind=unforeseen" not in values(other)


def test_the_process_tells_its_memory_unless_it_is_one_of_several() -> None:
    assert any(name.startswith("process_resident_memory_bytes") for name in values(Metrics()))


def test_every_name_is_of_ours_or_of_the_process() -> None:
    text = Metrics().render()[0].decode()
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert all(name.startswith(("visage_", "process_")) for name in names)
    assert len(names) == len(set(names))


SEVERAL = """
import os, sys
from visage.api.metrics import Metrics
from visage.errors import Overloaded
metrics = Metrics()
metrics.failure(Overloaded("full"))
if os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
os.wait()
sys.stdout.write(metrics.render()[0].decode())
"""
OTHER = """
from visage.api.metrics import Metrics
from visage.errors import Overloaded
Metrics().failure(Overloaded("full"))
"""


def test_workers_of_one_service_are_summed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, OTHER],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    assert 'visage_failures_total{kind="overloaded"} 2.0' in done.stdout
    assert "process_resident_memory_bytes" not in done.stdout


# A worker: it says how it stands, and then waits to be killed or to be asked what all of them tell.
WORKER = """
import sys
from visage.api.metrics import Metrics
from visage.rack import Standing
metrics = Metrics()
inside = [(0, 0)]
metrics.watch_door(lambda: inside[0])
waiting = metrics.waiting("detection", "yunet")
metrics.ready([("det", "yunet", "ab12")], lambda: [Standing("detection", "yunet", inside[0][0] < 9, 0)])
for line in sys.stdin:
    if line == "ask\\n":
        told = metrics.render()[0].decode()
        print(len(told.splitlines()), told, sep="\\n", end="", flush=True)
    elif line == "end\\n":
        metrics.close()
        break
    else:
        requests, size, depth = map(int, line.split())
        inside[0] = (requests, size)
        metrics.at_door()
        waiting(depth)
        metrics.networks()
        print("done", flush=True)
"""


class Worker:
    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _say(self, line: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def stands(self, requests: int, size: int, depth: int) -> None:
        assert self._say(f"{requests} {size} {depth}") == "done\n"

    def asked(self) -> dict[str, float]:
        """Its gauges by their first word; those of networks by their stage and model, too."""
        count = int(self._say("ask"))
        assert self.process.stdout is not None
        text = "".join(self.process.stdout.readline() for _ in range(count))
        return {
            sample.name.removeprefix("visage_"): sample.value
            for family in text_string_to_metric_families(text)
            if family.type == "gauge"
            for sample in family.samples
        }

    def killed(self) -> None:
        self.process.kill()
        self.process.communicate()

    def ended(self) -> None:
        self.process.communicate("end\n", timeout=60)
        assert self.process.returncode == 0


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Worker]]:
    some = [Worker(tmp_path) for _ in range(3)]
    yield some
    for one in some:
        if one.process.returncode is None:
            one.killed()


def test_gauges_are_sums_over_the_workers_that_live_whoever_is_asked(workers: list[Worker]) -> None:
    one, two, three = workers
    one.stands(3, 1000, 1)
    two.stands(9, 50, 4)
    three.stands(0, 0, 0)
    expected = {"requests_inside": 12, "bytes_inside": 1050, "queue_depth": 5, "ready": 1, "model_info": 1}
    for asked in (three, one, two):
        assert asked.asked() == {**expected, "model_in_memory": 2}  # the second has unloaded it
    two.killed()  # a busy one
    expected = {"requests_inside": 3, "bytes_inside": 1000, "queue_depth": 1, "ready": 1, "model_info": 1}
    for asked in (three, one):
        assert asked.asked() == {**expected, "model_in_memory": 2}
    one.ended()
    idle = {"requests_inside": 0, "bytes_inside": 0, "queue_depth": 0, "ready": 1, "model_info": 1}
    assert three.asked() == {**idle, "model_in_memory": 1}


def test_what_another_process_of_the_same_number_left_is_nobodys(tmp_path: Path) -> None:
    code = (
        "import os; from visage.api.metrics import Metrics; m = Metrics();"
        "m.watch_door(lambda: (7, 7)); m.at_door(); m.waiting('detection', 'old')(7);"
        "folder, pid = os.environ['PROMETHEUS_MULTIPROC_DIR'], os.getpid();"
        "os.rename(f'{folder}/gauge_livesum_{pid}.db', f'{folder}/gauge_livesum_{os.getppid()}.db')"
    )
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=200)
    (left,) = tmp_path.glob("gauge_livesum_*.db")  # by a process of our own number
    assert left.stem.endswith(f"_{os.getpid()}")
    living = Living(tmp_path)
    assert not left.exists()
    living.bury()  # what that process left besides
    living.close()
    assert not list(tmp_path.glob("*.living")) and not list(tmp_path.glob("gauge_*"))
