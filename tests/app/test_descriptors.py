"""The limit of open files."""

import resource

from app.descriptors import ENOUGH, allow_many


def test_limit_is_raised_as_far_as_it_may_be_and_never_lowered() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, most), hard))
        allow_many()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
        allow_many()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
