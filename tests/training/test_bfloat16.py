"""Where bfloat16 is fast, by what Linux says of processors and TensorFlow of GPUs."""

import warnings

import pytest

from ft_tf._compat import tf
from ft_tf.training import bfloat16

SAPPHIRE_RAPIDS = (
    "processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16 amx_tile\nbugs\t\t: x\n"
)
ICE_LAKE = "processor\t: 0\nflags\t\t: fpu avx512f avx512_vnni avx512_bitalg\n"
GRAVITON = "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n"


@pytest.fixture
def asked_on(monkeypatch, tmp_path):
    """Answers as on a machine with this /proc/cpuinfo (None: no such file) and these GPUs."""

    def ask(cpu_info, capabilities=()):
        path = tmp_path / "cpuinfo"
        if cpu_info is not None:
            path.write_text(cpu_info, encoding="utf-8")
        monkeypatch.setattr(bfloat16, "_CPU_INFO", path)
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(capabilities))
        monkeypatch.setattr(
            tf.config.experimental,
            "get_device_details",
            lambda gpu: {} if gpu is Ellipsis else {"compute_capability": gpu},
        )
        bfloat16.bfloat16_is_fast.cache_clear()
        return bfloat16.bfloat16_is_fast()

    yield ask
    bfloat16.bfloat16_is_fast.cache_clear()


@pytest.mark.parametrize(
    ("cpu_info", "capabilities", "expected"),
    [
        (SAPPHIRE_RAPIDS, (), True),
        (ICE_LAKE, (), False),
        (GRAVITON, (), True),
        (None, (), None),
        ("model name : unknown\n", (), None),
        (ICE_LAKE, ((9, 0),), True),
        (SAPPHIRE_RAPIDS, ((7, 5),), False),
        (SAPPHIRE_RAPIDS, (Ellipsis,), None),
    ],
)
def test_answers(asked_on, cpu_info, capabilities, expected):
    assert asked_on(cpu_info, capabilities) is expected


def test_the_warning_is_one_line_and_comes_only_where_it_is_known_to_be_slow(asked_on):
    asked_on(ICE_LAKE)
    with pytest.warns(RuntimeWarning, match="precision=mixed_bfloat16") as caught:
        bfloat16.warn_if_slow(precision="mixed_bfloat16")
    assert "\n" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bfloat16.warn_if_slow(precision="float32")
        for known in (SAPPHIRE_RAPIDS, None):
            bfloat16._CPU_INFO.unlink(missing_ok=True)
            asked_on(known)
            bfloat16.warn_if_slow(precision="mixed_bfloat16")
