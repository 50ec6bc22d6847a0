from typing import Any

import pytest

from tests.doctor.conftest import Found
from visage.backends.gpu import Driver, Gpu
from visage.doctor import computing
from visage.doctor.finding import Finding
from visage.errors import BackendUnavailable

ADA = Gpu("NVIDIA L4", 24 * 2**30, (8, 9))
VOLTA = Gpu("Tesla V100", 16 * 2**30, (7, 0))


def bad(found: list[Finding]) -> list[str]:
    return [one.what for one in found if one.verdict == "bad"]


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What NVIDIA's driver says, and the packages that are installed for CUDA."""

    def of(found: Driver | None, *packages: tuple[str, int]) -> None:
        monkeypatch.setattr(computing, "driver", lambda: found)
        monkeypatch.setattr(computing, "_cuda_packages", lambda: list(packages))

    return of


def test_a_backend_that_there_is_not_is_told(found: Found) -> None:
    (said,) = bad(found(INFERENCE_BACKEND="nonsense")["engines"])
    assert said.startswith("INFERENCE_BACKEND='nonsense' is not one of")


def test_a_device_that_onnx_runtime_has_not_is_told_with_the_package_that_has_it(found: Found) -> None:
    assert bad(found()["engines"]) == []
    (said,) = bad(found(INFERENCE_BACKEND="onnx", ORT_PROVIDERS="cuda,cpu")["engines"])
    assert said.startswith("ORT_PROVIDERS names cuda") and "onnxruntime-gpu" in said


def test_a_gpu_is_asked_for_only_where_something_wants_one(found: Found, driven: Any) -> None:
    driven(None)
    assert bad(found()["gpu"]) == []
    assert bad(found(ORT_PROVIDERS="cuda,cpu")["gpu"]) == ["NVIDIA's driver is not there"]
    assert bad(found(INFERENCE_BACKEND="trt")["gpu"]) == ["NVIDIA's driver is not there"]
    driven(Driver("580.65.06", (13, 0), ()))
    assert bad(found(INFERENCE_BACKEND="trt")["gpu"]) == ["the driver shows no GPU"]
    assert bad(found()["gpu"]) == []


def test_what_the_driver_shows_is_told(found: Found, driven: Any) -> None:
    driven(Driver("580.65.06", (13, 0), (ADA,)), ("tensorrt_cu13", 13))
    said = found(INFERENCE_BACKEND="trt")["gpu"]
    assert [one.what for one in said] == ["NVIDIA's driver 580.65.06, for CUDA up to 13.0", "NVIDIA L4, 24.0 GB, sm89"]


@pytest.mark.parametrize(
    ("cuda", "package", "refused"),
    [
        ((12, 9), ("cupy-cuda13x", 13), True),
        ((13, 0), ("cupy-cuda12x", 12), False),
        ((0, 0), ("cupy-cuda13x", 13), False),
    ],
)
def test_packages_for_a_cuda_that_the_driver_does_not_bear_are_told(
    found: Found, driven: Any, cuda: tuple[int, int], package: tuple[str, int], refused: bool
) -> None:
    driven(Driver("575.57", cuda, (ADA,)), package)
    said = bad(found(INFERENCE_BACKEND="trt")["gpu"])
    assert said == (["cupy-cuda13x is for CUDA 13, the driver for 12"] if refused else [])
    assert bad(found(INFERENCE_BACKEND="onnx")["gpu"]) == []


def test_a_gpu_that_is_too_old_for_tensorrt_is_told(found: Found, driven: Any) -> None:
    driven(Driver("580.65", (13, 0), (ADA, VOLTA, Gpu("GPU 2", 0, (0, 0)))))
    assert bad(found(INFERENCE_BACKEND="trt")["gpu"]) == ["Tesla V100 is older than what TensorRT computes on"]


def test_the_cuda_of_installed_packages_is_read_off_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        def __init__(self, name: str) -> None:
            self.metadata = {"Name": name}

    names = ["cupy-cuda12x", "tensorrt_cu13_libs", "tensorrt", "tensorrt-cu13", "onnxruntime", "nvidia-cuda-nvrtc-cu12"]
    monkeypatch.setattr(computing, "distributions", lambda: map(Installed, names))
    assert computing._cuda_packages() == [("cupy-cuda12x", 12), ("tensorrt-cu13", 13), ("tensorrt_cu13_libs", 13)]


@pytest.mark.parametrize(
    ("lacking", "verdicts"),
    [
        ({}, ["good", "good"]),
        ({"a:8001": "it is not ready"}, ["doubtful", "good"]),
        ({"a:8001": "it is not ready", "b:8001": "it does not serve sface"}, ["bad", "bad"]),
    ],
)
def test_one_triton_server_that_has_all_networks_is_enough(
    found: Found, monkeypatch: pytest.MonkeyPatch, lacking: dict[str, str], verdicts: list[str]
) -> None:
    asked: list[tuple[str, list[str]]] = []

    class Readiness:
        @staticmethod
        def lacks(address: str, names: list[str], _: float) -> str:
            asked.append((address, names))
            return lacking.get(address, "")

    monkeypatch.setitem(__import__("sys").modules, "visage.backends.triton.readiness", Readiness)
    monkeypatch.setattr(computing, "backend", lambda _: None)
    said = [one for one in found(INFERENCE_BACKEND="triton", TRITON_URI="a,b")["engines"] if "Triton at" in one.what]
    assert [one.verdict for one in said] == verdicts
    assert asked == [("a:8001", ["yunet", "sface"]), ("b:8001", ["yunet", "sface"])]


def test_without_its_client_no_triton_server_is_asked(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> Any:
        raise BackendUnavailable("no client; pip install visage[triton]")

    monkeypatch.setattr(computing, "backend", missing)
    said = found(INFERENCE_BACKEND="triton", TRITON_URI="a")["engines"]
    assert bad(said) == ["no client; pip install visage[triton]"] and not any("Triton at" in one.what for one in said)
