"""The number format of training follows from the setting and the processor."""

import pytest

from models.precision import training_policy


@pytest.mark.parametrize(
    ("precision", "flags", "policy"),
    [
        ("auto", "fpu avx2 avx512f avx512_bf16", "mixed_bfloat16"),
        ("auto", "fpu avx2 avx512f avx512_bf16_like", "float32"),
        ("auto", "fpu avx2", "float32"),
        ("float32", "fpu avx512_bf16", "float32"),
        ("bfloat16", "fpu avx2", "mixed_bfloat16"),
    ],
)
def test_auto_is_bfloat16_only_where_the_processor_multiplies_it(tmp_path, precision, flags, policy):
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: spectre_v1\n")
    assert training_policy(precision, cpu_info) == policy


def test_auto_is_float32_where_the_system_tells_no_flags(tmp_path):
    assert training_policy("auto", tmp_path / "missing") == "float32"
