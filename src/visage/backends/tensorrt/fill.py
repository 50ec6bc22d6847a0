"""`Preprocess` on the device: uint8 pictures → the network's input, in one kernel."""

from typing import Any

import numpy as np

from visage.backends.base import Preprocess
from visage.faces import Floats, Pixels

NAME = "fill"

# A thread a pixel. `pixels` uint8 (N, h, w, 3) BGR; `fed` float32 (N, 3, h, w) if `planar`, else (N, h, w, 3); `count`
# is N·h·w, `plane` h·w. NVRTC divides as IEEE 754 says unless told otherwise, so the numbers are numpy's to the bit.
SOURCE = r"""
extern "C" __global__ void fill(const unsigned char* pixels, float* fed, long long count, long long plane,
                                float mean, float std, int rgb, int planar)
{
    const long long pixel = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= count) return;
    const long long picture = pixel / plane, place = pixel % plane;
    for (int channel = 0; channel < 3; ++channel) {
        const float value = ((float)pixels[3 * pixel + (rgb ? 2 - channel : channel)] - mean) / std;
        fed[planar ? (3 * picture + channel) * plane + place : 3 * pixel + channel] = value;
    }
}
"""

_THREADS = 256


def launch(kernel: Any, pixels: Any, fed: Any, shape: tuple[int, int, int], preprocess: Preprocess) -> None:
    """Run the kernel, a `cupy.RawKernel`, for N pictures of `shape` (N, h, w) on CuPy's current stream."""
    count, height, width = shape
    total = count * height * width
    arguments = (
        pixels,
        fed,
        np.int64(total),
        np.int64(height * width),
        np.float32(preprocess.mean),
        np.float32(preprocess.std),
        np.int32(preprocess.colours == "rgb"),
        np.int32(preprocess.layout == "nchw"),
    )
    kernel((-(-total // _THREADS),), (_THREADS,), arguments)


def filled(xp: Any, pixels: Pixels, preprocess: Preprocess) -> Floats:
    """The kernel's arithmetic in arrays, `xp` numpy or cupy: uint8 (N, h, w, 3) → float32 in the network's layout.

    It is what the kernel is held against on a GPU.
    """
    number, height, width, _ = pixels.shape
    plane = height * width
    flat, fed = pixels.reshape(-1), xp.empty(pixels.size, xp.float32)
    pixel = xp.arange(number * plane)
    picture, place = pixel // plane, pixel % plane
    planar = preprocess.layout == "nchw"
    for channel in range(3):
        source = 3 * pixel + (2 - channel if preprocess.colours == "rgb" else channel)
        target = (3 * picture + channel) * plane + place if planar else 3 * pixel + channel
        fed[target] = (flat[source].astype(xp.float32) - xp.float32(preprocess.mean)) / xp.float32(preprocess.std)
    made: Floats = fed.reshape((number, 3, height, width) if planar else pixels.shape)
    return made
