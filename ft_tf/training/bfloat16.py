"""Hardware support of bfloat16: without it mixed precision is slow."""

import functools
import pathlib
import warnings

from ft_tf._compat import tf

_CPU_INFO = pathlib.Path("/proc/cpuinfo")
# As Linux names them: dot products of AVX-512, tiles of AMX, and Arm's (line "Features").
_FAST_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_FAST_CAPABILITY = (8, 0)
"""CUDA compute capability from which tensor cores take bfloat16 (Ampere)."""


def processor_flags(cpu_info: str) -> frozenset[str]:
    r"""Returns the instruction sets in the text of /proc/cpuinfo.

    >>> sorted(processor_flags("model name\t: X\nflags\t\t: fpu avx512f avx512_bf16\n"))
    ['avx512_bf16', 'avx512f', 'fpu']
    """
    flags: set[str] = set()
    for line in cpu_info.splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            flags.update(values.split())
    return frozenset(flags)


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
        flags = processor_flags(_CPU_INFO.read_text(encoding="utf-8"))
    except OSError:
        return None
    return bool(flags & _FAST_FLAGS) if flags else None


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
