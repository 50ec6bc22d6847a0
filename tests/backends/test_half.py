"""Half precision: the same answers but for what float16 rounds."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.networks import Embedder, dense, model_file, pictures, scrfd_heads, yunet_heads
from visage.backends.half import half, write_half
from visage.backends.onnx import open_session
from visage.errors import GraphRejected


@pytest.mark.parametrize("heads", [scrfd_heads(), yunet_heads()], ids=["scrfd", "yunet"])
def test_outputs_are_those_of_single_precision_rounded_and_both_ends_stay_float32(tmp_path: Path, heads: list) -> None:  # type: ignore[type-arg]
    whole = dense(tmp_path / "a.onnx", heads)
    write_half(whole, tmp_path / "b.onnx")
    shown = pictures(2, (96, 64))
    for a, b in zip(
        open_session(model_file(whole)).run(shown),
        open_session(model_file(tmp_path / "b.onnx")).run(shown),
        strict=True,
    ):
        assert b.dtype == np.float32 and a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol=5e-3, atol=5e-3 * float(np.abs(a).max()))
    types = {i.data_type for i in onnx.load(str(tmp_path / "b.onnx")).graph.initializer if np.prod(i.dims) > 8}
    assert onnx.TensorProto.FLOAT not in types
    assert {path.name for path in tmp_path.iterdir()} == {"a.onnx", "b.onnx"}


def test_any_batch_is_still_taken(tmp_path: Path) -> None:
    write_half(Embedder.of(8).save(tmp_path / "a.onnx"), tmp_path / "b.onnx")
    assert open_session(model_file(tmp_path / "b.onnx")).run(pictures(3, (112, 112)))[0].shape == (3, 8)


def test_a_graph_that_the_tool_stumbles_over_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise KeyError("first line\nsecond line")

    monkeypatch.setattr("visage.backends.half.convert_float_to_float16", stumble)
    with pytest.raises(GraphRejected, match=r"^this network cannot be converted to float16: .*first line") as caught:
        half(onnx.ModelProto())
    assert "\n" not in str(caught.value)
