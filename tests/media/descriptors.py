"""A process with as many open descriptors as one with hundreds of viewers."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

LOW = 1024
"""What `select.select` can take."""


@contextmanager
def crowded() -> Iterator[None]:
    """Every descriptor below 1,024 is taken, so what is opened has a higher one."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= LOW + 64:
        pytest.skip("the limit of open files leaves no room")
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while taken[-1] < LOW:
            taken.append(os.dup(taken[0]))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
