"""What an exception of CuPy or TensorRT means to who asked: no room now, a lost device, or one run that failed."""

from typing import Any

from visage.errors import DeviceLost, InferenceFailed, Overloaded, VisageError

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation

# CUDA's "any further CUDA work will return the same error … the process must be terminated and relaunched"
# (cudaError in the runtime's driver_types.h, CUDA 13.0; the driver's numbers are the same), and memory or a link whose
# faults cannot be corrected.
_FINAL = {
    214: "ECCUncorrectable",
    220: "NvlinkUncorrectable",
    226: "Contained",
    700: "IllegalAddress",
    702: "LaunchTimeout",
    710: "Assert",
    714: "HardwareStackError",
    715: "IllegalInstruction",
    716: "MisalignedAddress",
    717: "InvalidAddressSpace",
    718: "InvalidPc",
    719: "LaunchFailure",
    721: "TensorMemoryLeak",
    810: "MpsClientTerminated",
    911: "ExternalDevice",
}


def is_final(exc: BaseException | None) -> bool:
    """Whether nothing on the device will succeed in this process again."""
    return getattr(exc, "status", None) in _FINAL


def is_full(exc: BaseException) -> bool:
    """Whether the device's memory, or this process's, had no room."""
    known = isinstance(exc, MemoryError) or getattr(exc, "status", None) == _OUT_OF_MEMORY
    return known or "out of memory" in str(exc).lower()


def failure(what: str, exc: Exception, cuda: Any, after: Exception | None = None) -> VisageError:
    """What to raise for `exc`. `after`: what the stream said when it was waited for then; TensorRT itself tells of an
    error of the device in words only, the next call of CUDA tells its number.
    """
    for one in (exc, after):
        if one is not None and is_final(one):
            return lost(what, one)
    if is_full(exc):
        cuda.get_default_memory_pool().free_all_blocks()
        return Overloaded(f"{what}: the GPU's memory is full")
    return InferenceFailed(f"{what}: {said(exc)}")


def lost(what: str, exc: Exception) -> DeviceLost:
    """Of an error that is final; it names the remedy."""
    remedy = "CUDA serves this process no more, it has to be started anew"
    return DeviceLost(f"{what}: {said(exc)}; {remedy}", retry_after=5)


def said(exc: Exception) -> str:
    """Its first line, or what it is."""
    return str(exc).strip().partition("\n")[0][:300] or type(exc).__name__
