"""The limit of open files."""

import resource
from argparse import Namespace

import pytest

from app import cli_master
from app.descriptors import ENOUGH, allow_many
from app.exits import CommandError
from app.settings import Loaded, Settings


def test_a_master_has_as_many_as_it_may() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        with pytest.raises(CommandError, match="--channel"):
            cli_master.run(Namespace(inherited_fd=None, channel=""), Loaded(Settings(), {}))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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
