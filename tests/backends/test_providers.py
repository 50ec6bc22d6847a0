"""ORT_PROVIDERS, strictly. Azure's provider, which computes nothing, is in every onnxruntime: it plays the device."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.networks import Embedder, model_file, pictures
from tests.support import client_of, settings_of
from visage.backends import onnx as backend
from visage.backends import providers as naming
from visage.backends.base import Means, ModelFile
from visage.backends.providers import PROVIDERS, providers, streams
from visage.errors import BackendUnavailable
from visage.scheduling import Load, elastic


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(PROVIDERS, "azure", ("AzureExecutionProvider", "onnxruntime"))
    return "azure"


def model(folder: Path, *names: str, fp16: bool = False) -> ModelFile:
    file = model_file(Embedder.of(8).save(folder / "a.onnx"))
    return replace(file, threads=2, means=Means(fp16=fp16, providers=names))


@pytest.mark.parametrize("names", [("cpu",), ("cpuexecutionprovider",), ("cpu", "cpu")])
def test_the_cpu_is_what_it_was(tmp_path: Path, names: tuple[str, ...]) -> None:
    session = backend.open_session(model(tmp_path, *names))
    assert session.streams == 0 and session._session.get_providers() == ["CPUExecutionProvider"]


def test_names_are_ours_or_onnx_runtime_s_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming.ort, "get_available_providers", lambda: [own for own, _ in PROVIDERS.values()])
    assert providers(["tensorrt", "cuda", "cpu"]) == [
        "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider",
    ]  # fmt: skip
    assert providers(["cudaexecutionprovider", "cuda", "cpu"]) == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert [streams(names) for names in (["cpu"], ["cuda", "cpu"], ["openvino"], ["directml", "cpu"])] == [0, 2, 2, 1]


def test_an_unknown_name_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        BackendUnavailable, match=r"^ORT_PROVIDERS names 'gpu', which is not one of: cpu, cuda, tensorrt"
    ):
        backend.open_session(model(tmp_path, "gpu", "cpu"))


def test_a_provider_that_is_not_here_is_refused_with_those_that_are_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"names rocm, but this onnxruntime has: cpu; .*\(onnxruntime-rocm\)"):
        backend.open_session(model(tmp_path, "rocm", "cpu"))


def test_a_device_has_streams_and_no_narrow_form(tmp_path: Path, device: str) -> None:
    file, load = model(tmp_path, device, "cpu"), Load(2)
    session = elastic(backend.open_session, load)(file)
    known = backend.open_session(replace(file, means=Means()))
    pixels = pictures(3, (112, 112))

    assert isinstance(session, backend.OnnxSession) and session.streams == 2
    np.testing.assert_allclose(session.run(pixels)[0], known.run(pixels)[0], rtol=1e-5)
    load.close()


def test_what_the_device_cannot_compute_is_an_error_unless_the_cpu_is_named(tmp_path: Path, device: str) -> None:
    with pytest.raises(BackendUnavailable, match=r"^ORT_PROVIDERS='azure': ONNX Runtime cannot load a so: .*CPU EP"):
        backend.open_session(model(tmp_path, device))


def test_a_provider_that_drops_out_unsaid_is_refused(
    tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ort.InferenceSession.get_providers
    monkeypatch.setattr(
        ort.InferenceSession, "get_providers", lambda self: [p for p in real(self) if not p.startswith("Azure")]
    )
    with pytest.raises(BackendUnavailable, match=r"'azure,cpu'.* leaves AzureExecutionProvider out for a and would"):
        backend.open_session(model(tmp_path, device, "cpu"))


def test_a_provider_that_fails_is_an_error_and_nothing_is_tried_again_or_printed(
    tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[Any] = []

    def fails(self: Any, wanted: Any, *_: Any) -> None:
        tried.append(wanted)
        raise RuntimeError("no driver\nat 0x0")

    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", fails)
    with pytest.raises(BackendUnavailable, match=r"^ORT_PROVIDERS='azure,cpu': .* cannot load a so: no driver$"):
        backend.open_session(model(tmp_path, device, "cpu"))
    assert tried == [["AzureExecutionProvider", "CPUExecutionProvider"]] and capsys.readouterr().out == ""


@pytest.mark.parametrize("fp16", [False, True])
def test_half_precision_is_for_devices_and_only_where_asked_for_fault_11(
    tmp_path: Path, device: str, fp16: bool
) -> None:
    on_cpu, on_device = (
        backend.open_session(model(tmp_path, *names, fp16=fp16)) for names in (("cpu",), (device, "cpu"))
    )
    pixels = pictures(2, (112, 112))
    off = np.abs(on_cpu.run(pixels)[0] - on_device.run(pixels)[0]).max()
    assert bool(off > 1e-4) is fp16
    assert on_device.run(pixels)[0].dtype == np.float32


def test_info_shows_what_it_computes_on(models_dir: Path, device: str) -> None:
    settings = settings_of(MODELS_DIR=str(models_dir), INFERENCE_BACKEND="onnx", ORT_PROVIDERS="azure, CPU")
    with client_of(settings) as client:
        assert client.get("/info").json()["visage"]["ort_providers"] == ["azure", "cpu"]
