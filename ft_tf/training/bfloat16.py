"""Hardware support of bfloat16: without it mixed precision is slow."""

import functools
import pathlib
import warnings

from ft_tf._compat import tf

_CPU_INFO = pathlib.Path("/proc/cpuinfo")
# As Linux names them: dot products of AVX-512, tiles of AMX, and Arm's (in the line "Features").
_FAST_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_FAST_CAPABILITY = (8, 0)
"""CUDA compute capability from which tensor cores take bfloat16 (Ampere)."""


@functools.cache
def bfloat16_is_fast() -> bool | None:
    """Returns True if the device that TensorFlow trains on multiplies bfloat16 in hardware.

    A GPU answers by its compute capability (8.0 and later), a processor by its flags on Linux.

    Returns:
        True or False; None if it is unknown (no Linux, no details of the GPU).
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability")
        return None if capability is None else capability >= _FAST_CAPABILITY
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    pairs = (line.partition(":")[::2] for line in lines)
    flags = " ".join(values for name, values in pairs if name.strip() in ("flags", "Features"))
    return not _FAST_FLAGS.isdisjoint(flags.split()) if flags.strip() else None


def warn_if_slow(**precision: str) -> None:
    """Warns, in one line, when a precision is mixed_bfloat16 and the device has no bfloat16.

    Args:
        **precision: the value, under the name of the argument or flag that gave it.
    """
    for name, value in precision.items():
        if value == "mixed_bfloat16" and bfloat16_is_fast() is False:
            warnings.warn(
                f"{name}={value} will be slower than float32 here: the processor has neither "
                f"avx512_bf16 nor amx_bf16; use {name}=float32",
                RuntimeWarning,
                stacklevel=2,
            )
