import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.networks import pictures
from visage.backends.base import Preprocess
from visage.backends.tensorrt.fill import NAME, SOURCE, filled, launch

FEEDS = [
    Preprocess(mean, std, colours, layout)
    for mean, std, colours, layout in product((0.0, 127.5, 104.0), (1.0, 127.5, 57.1), ("rgb", "bgr"), ("nchw", "nhwc"))
]


def every_value() -> Any:
    values = np.arange(256, dtype=np.uint8)
    return np.stack([values, values[::-1], np.roll(values, 77)], axis=-1).reshape(2, 8, 16, 3)


@pytest.mark.parametrize("feed", FEEDS, ids=str)
def test_the_kernel_s_arithmetic_is_the_plain_preprocessing_fault_03(feed: Preprocess) -> None:
    for pixels in (every_value(), pictures(3, (5, 7))):
        np.testing.assert_array_equal(filled(np, pixels, feed), feed(pixels))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernel's text as C++, a thread a loop; it reads its arguments and pixels, and writes what it fed."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler is here to run the kernel's text on this processor")
    folder = tmp_path_factory.mktemp("kernel")
    host = """
#include <cstdio>
#include <cstdlib>
#include <vector>
#define __global__
struct { long long x; } blockIdx, blockDim, threadIdx;
%s
int main(int, char** a) {
    const long long count = atoll(a[1]), plane = atoll(a[2]), blocks = atoll(a[7]);
    std::vector<unsigned char> pixels(3 * count);
    std::vector<float> fed(3 * count, -1e9f);
    if (fread(pixels.data(), 1, pixels.size(), stdin) != pixels.size()) return 2;
    blockDim.x = atoll(a[8]);
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x)
            %s(pixels.data(), fed.data(), count, plane, atof(a[3]), atof(a[4]), atoi(a[5]), atoi(a[6]));
    return fwrite(fed.data(), 4, fed.size(), stdout) != fed.size();
}
"""
    (folder / "kernel.cpp").write_text(host % (SOURCE, NAME), "utf-8")
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", "-o", "kernel", "kernel.cpp"], cwd=folder, check=True)
    return folder / "kernel"


@pytest.mark.parametrize("feed", FEEDS, ids=str)
def test_the_kernel_s_text_computes_the_plain_preprocessing_fault_03(compiled: Path, feed: Preprocess) -> None:
    def kernel(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
        pixels, fed, *rest = arguments
        command = [str(compiled), *(str(float(one) if one.dtype == np.float32 else int(one)) for one in rest)]
        done = subprocess.run(
            [*command, str(grid[0]), str(block[0])], input=pixels.tobytes(), stdout=subprocess.PIPE, check=True
        )
        fed[:] = np.frombuffer(done.stdout, np.float32).reshape(fed.shape)

    for pixels in (every_value(), pictures(3, (5, 7))):
        expected = feed(pixels)
        fed = np.zeros_like(expected)
        launch(kernel, pixels, fed, pixels.shape[:3], feed)
        np.testing.assert_array_equal(fed, expected)


@pytest.mark.rtx
@pytest.mark.parametrize("target", ["75", "80", "86", "89", "90"])
def test_the_kernel_compiles_for_gpus_without_one(target: str) -> None:
    pytest.importorskip("cupy", reason="cupy is not installed: make rtx-test")
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(SOURCE, f"{NAME}.cu", (), ())
    nvrtc.compileProgram(program, (f"--gpu-architecture=compute_{target}", "--std=c++17"))
    text = nvrtc.getPTX(program).decode()
    assert f".entry {NAME}(" in text and f".target sm_{target}" in text
    assert "div.rn.f32" in text and "div.approx" not in text  # as IEEE 754 divides


@pytest.mark.gpu
@pytest.mark.parametrize("feed", FEEDS, ids=str)
def test_the_kernel_on_a_gpu_computes_the_plain_preprocessing_fault_03(feed: Preprocess) -> None:
    cupy = pytest.importorskip("cupy", reason="cupy is not installed: pip install visage[trt]")
    if not cupy.cuda.is_available():
        pytest.skip("no NVIDIA GPU is here")
    pixels = pictures(3, (5, 7))
    given, fed = cupy.asarray(pixels), cupy.empty(pixels.size, cupy.float32)
    launch(cupy.RawKernel(SOURCE, NAME), given, fed, pixels.shape[:3], feed)
    np.testing.assert_array_equal(fed.get(), filled(cupy, given, feed).get().reshape(-1))
    np.testing.assert_array_equal(fed.get(), feed(pixels).reshape(-1))
