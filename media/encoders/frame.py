"""Copies of raw pictures."""

import av


def private_copy(frame: av.VideoFrame) -> av.VideoFrame:
    """A copy of a picture in system memory that may be written to: the original is shared by all encoders."""
    copy = av.VideoFrame(frame.width, frame.height, frame.format.name)
    for source, target in zip(frame.planes, copy.planes, strict=True):
        taken, given = memoryview(source), memoryview(target)
        if source.line_size == target.line_size:
            shared = min(len(taken), len(given))
            given[:shared] = taken[:shared]
            continue
        width = min(source.line_size, target.line_size)
        for row in range(target.height):
            start, origin = row * target.line_size, row * source.line_size
            given[start : start + width] = taken[origin : origin + width]
    return copy
