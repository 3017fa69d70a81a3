"""Which number format the network is trained in.

bfloat16 has the range of float32 with 8 bits of precision. Processors that multiply it natively (AVX512_BF16: AMD from
Zen 4, Intel from Cooper Lake) train in it 1.5 times as fast; on others TensorFlow emulates it, many times slower than
float32. Weights, statistics, loss and optimizer are float32 in both, and so is the model that is evaluated and served.
"""

from pathlib import Path

PRECISIONS = ("auto", "float32", "bfloat16")
_CPU_INFO = Path("/proc/cpuinfo")


def resolve_precision(precision: str, cpu_info: Path = _CPU_INFO) -> str:
    """Returns "float32" or "bfloat16" for a setting, of which "auto" asks the processor."""
    return {"float32": "float32", "mixed_bfloat16": "bfloat16"}[training_policy(precision, cpu_info)]


def training_policy(precision: str, cpu_info: Path = _CPU_INFO) -> str:
    """Returns the Keras dtype policy for a setting: "float32" or "mixed_bfloat16".

    Args:
      precision: "float32", "bfloat16", or "auto" for bfloat16 where the processor has instructions for it.
      cpu_info: where Linux tells the processor's flags; without it "auto" is float32.
    """
    if precision == "auto":
        flags = cpu_info.read_text() if cpu_info.exists() else ""
        precision = "bfloat16" if "avx512_bf16" in flags.split() else "float32"
    return {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
