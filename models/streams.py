"""Reads as many bytes as a header promises, without asking memory for them beforehand: a damaged one promises anything.

Synopsis:

    import io

    content = read_promised(io.BytesIO(b"abc"), 2**40)        # b"abc"
"""

from typing import BinaryIO

_BYTES = 1 << 20


def read_promised(stream: BinaryIO, size: int) -> bytes:
    """Returns the next `size` bytes of a stream; fewer only at its end, also that of a gzip stream that was cut."""
    parts = []
    while size > 0:
        try:
            # read1 gives what there is: a gzip stream that was cut raises only once all of it has been handed over.
            part = stream.read1(min(size, _BYTES))
        except EOFError:
            break
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
