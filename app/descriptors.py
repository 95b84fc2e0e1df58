"""How many files this process may have open: each connection and each relay of TURN is one."""

import contextlib
import resource

ENOUGH = 65_536


def allow_many() -> None:
    """Raise the limit to 65,536, or as far as it may be without more rights; a service has 1,024 by default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
