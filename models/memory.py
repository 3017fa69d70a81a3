"""How much memory a run may take, and how many rows of a data set that is.

One budget in bytes, the setting `memory_mib`, bounds what may be held of the data; by default it is a quarter of what
the machine has, or its container. What is read, decoded or asked about at a time is a block of fixed size, below any
budget: floating-point sums and the answers of a model differ in their last bits with the number of rows, and no result
may depend on the memory of a machine.

Synopsis:

    budget_bytes(1024)                                  # 1073741824
    rows_within(2 * MIB, 28 * 28, most=4096)            # 2674
    block_rows((28, 28)), block_rows((224, 224, 3))     # (4096, 222)
    inference_rows((224, 224, 3))                       # 55
"""

import math

from models.host import memory_bytes

MIB = 2**20
# Below it the blocks of fixed size would be the larger part.
SMALLEST_MIB = 256
_SHARE_OF_MACHINE = 1 / 4
# Of pixels. Statistics take eight times as much while they look at a block, a network up to 1,300 times
# (`best` of three members, which sees both sides, of 500 images of 28x28: 488 MiB).
_BLOCK_BYTES, _MOST_ROWS = 32 * MIB, 4096
_INFERENCE_BYTES, _MOST_INFERRED = 8 * MIB, 500


def budget_bytes(memory_mib: float | None) -> int:
    """Returns the budget in bytes: `memory_mib` MiB, or a quarter of `memory_bytes()` where that is None."""
    if memory_mib is None:
        return max(SMALLEST_MIB * MIB, int(memory_bytes() * _SHARE_OF_MACHINE))
    return int(memory_mib * MIB)


def rows_within(available: float, row_bytes: int, *, most: int) -> int:
    """Returns how many rows of `row_bytes` bytes fit into `available` bytes: at least 1, at most `most`."""
    return max(1, min(most, int(available // row_bytes)))


def block_rows(image_shape: tuple[int, ...]) -> int:
    """Returns how many images of a shape are read and decoded at a time."""
    return rows_within(_BLOCK_BYTES, math.prod(image_shape), most=_MOST_ROWS)


def inference_rows(image_shape: tuple[int, ...]) -> int:
    """Returns how many images of a shape a model is asked about at a time."""
    return rows_within(_INFERENCE_BYTES, math.prod(image_shape), most=_MOST_INFERRED)
