"""The number format of training follows from the setting and the device."""

import pytest
import tensorflow as tf

from models import precision as of_precision
from models.precision import gpu_capability, resolve_precision, training_policy, trains_slowly


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


@pytest.mark.parametrize(
    ("precision", "flags", "resolved"),
    [
        ("auto", "fpu avx512_bf16", "bfloat16"),
        ("auto", "fpu avx2", "float32"),
        ("float32", "fpu avx512_bf16", "float32"),
        ("bfloat16", "fpu avx2", "bfloat16"),
    ],
)
def test_setting_is_resolved_to_a_precision_that_no_machine_takes_for_another(tmp_path, precision, flags, resolved):
    """It is part of the Trainer's cache key, where "auto" would hide what the weights were trained in."""
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"flags\t\t: {flags}\n")
    assert resolve_precision(precision, cpu_info) == resolved
    assert resolve_precision(resolved, tmp_path / "missing") == resolved


def test_auto_is_float32_where_the_system_tells_no_flags(tmp_path):
    assert training_policy("auto", tmp_path / "missing") == "float32"


@pytest.mark.parametrize(
    ("details", "policy"),
    [
        ({"compute_capability": (8, 0), "device_name": "NVIDIA A100"}, "mixed_bfloat16"),
        ({"compute_capability": (12, 0)}, "mixed_bfloat16"),
        ({"compute_capability": (7, 5)}, "float32"),
        ({"device_name": "METAL"}, "float32"),
    ],
)
def test_gpu_decides_where_there_is_one_and_not_the_processor(tmp_path, monkeypatch, details, policy):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"] if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    cpu_info = tmp_path / "cpuinfo"
    for flags in ("avx512_bf16", "avx2"):
        cpu_info.write_text(flags)
        assert training_policy("auto", cpu_info) == policy
    assert training_policy("float32", cpu_info) == "float32"


def test_without_a_gpu_there_is_no_capability(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert gpu_capability() is None


@pytest.mark.parametrize(
    ("flags", "device", "cudnn", "slow"),
    [
        ("fpu avx512_bf16", "null", False, False),
        ("fpu avx2", "null", True, True),
        ("fpu avx2", "nvidiactl", True, True),
        ("fpu avx2", "kfd", True, True),
        ("fpu avx2", "nvidia1", True, False),
        ("fpu avx2", "nvidia1", False, True),
        ("fpu avx2", "dxg", True, False),
        ("fpu avx2", "dxg", False, True),
        (None, "null", True, True),
    ],
)
def test_training_is_slow_without_bfloat16_and_without_a_gpu_that_tensorflow_can_use(
    tmp_path, monkeypatch, flags, device, cudnn, slow
):
    monkeypatch.setattr(of_precision, "_has_cudnn", lambda: cudnn)
    cpu_info, devices = tmp_path / "cpuinfo", tmp_path / "dev"
    if flags:
        cpu_info.write_text(f"flags\t\t: {flags}\n")
    devices.mkdir()
    (devices / device).touch()
    assert trains_slowly(cpu_info, devices) == slow


@pytest.mark.parametrize("brought_by", ["nobody", "pip", "the system"])
def test_cudnn_is_found_where_pip_or_the_system_has_it(tmp_path, monkeypatch, brought_by):
    monkeypatch.setattr(
        of_precision.ctypes.util, "find_library", lambda name: "libcudnn.so.9" if brought_by == "the system" else None
    )
    if brought_by == "pip":
        (tmp_path / "nvidia" / "cudnn").mkdir(parents=True)
        monkeypatch.syspath_prepend(tmp_path)
    assert of_precision._has_cudnn() is (brought_by != "nobody")
