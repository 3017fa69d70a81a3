"""Which number format the network is trained in: what the device multiplies fast.

bfloat16 has the range of float32 with 8 bits of precision. Processors that multiply it natively (AVX512_BF16: AMD from
Zen 4, Intel from Cooper Lake) train in it 1.5 times as fast; on others TensorFlow emulates it, many times slower than
float32. NVIDIA's GPUs multiply it from compute capability 8.0 (Ampere) on; one that is older, or of another maker,
trains in float32. Weights, statistics, loss and optimizer are float32 in each case, and so is the model that is
evaluated and served.
"""

import ctypes.util
import importlib.util
from pathlib import Path

PRECISIONS = ("auto", "float32", "bfloat16")
_CPU_INFO = Path("/proc/cpuinfo")
# What Linux calls NVIDIA's GPUs, and WSL any.
_DEVICES, _GPUS = Path("/dev"), ("nvidia[0-9]*", "dxg")
# Of GPUs, from which on they multiply bfloat16.
_AMPERE = (8, 0)


def resolve_precision(precision: str, cpu_info: Path = _CPU_INFO) -> str:
    """Returns "float32" or "bfloat16" for a setting, of which "auto" asks the device."""
    return {"float32": "float32", "mixed_bfloat16": "bfloat16"}[training_policy(precision, cpu_info)]


def training_policy(precision: str, cpu_info: Path = _CPU_INFO) -> str:
    """Returns the Keras dtype policy for a setting: "float32" or "mixed_bfloat16".

    Args:
      precision: "float32", "bfloat16", or "auto" for bfloat16 where the GPU or, without one, the processor has
        instructions for it.
      cpu_info: where Linux tells the processor's flags; without it "auto" is float32.
    """
    if precision == "auto":
        if (capability := gpu_capability()) is not None:
            native = capability >= _AMPERE
        else:
            native = _multiplies_bfloat16(cpu_info)
        precision = "bfloat16" if native else "float32"
    return {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]


def trains_slowly(cpu_info: Path = _CPU_INFO, devices: Path = _DEVICES) -> bool:
    """Returns whether a network takes several times as long here: a processor without bfloat16, and no GPU of use.

    A GPU is of use where NVIDIA's cuDNN is installed, without which TensorFlow computes on the processor. TensorFlow
    itself is not asked: its import takes seconds, and --help waits for none.
    """
    if _multiplies_bfloat16(cpu_info):
        return False
    return not (any(found for pattern in _GPUS for found in devices.glob(pattern)) and _has_cudnn())


def _has_cudnn() -> bool:
    # As `pip install tensorflow[and-cuda]` brings it, or the system.
    brought = importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.cudnn")
    return bool(brought or ctypes.util.find_library("cudnn"))


def _multiplies_bfloat16(cpu_info: Path) -> bool:
    return "avx512_bf16" in (cpu_info.read_text() if cpu_info.exists() else "").split()


def gpu_capability() -> tuple[int, int] | None:
    """Returns the compute capability of the GPU that TensorFlow trains on, None without one.

    (0, 0) where it has none: it is not NVIDIA's.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0)) if gpus else None
