"""How many files this process may have open: each connection and each relay of TURN is one."""

import contextlib
import resource
from collections.abc import Callable

ENOUGH = 65_536
_FEW = 16_384  # 10,000 cameras, their viewers, and the old connections of those that come back


def allow_many(notice: Callable[[str], None] = lambda _: None) -> None:
    """Raise the limit to 65,536, or as far as it may be without more rights; a service has 1,024 by default.

    `notice` hears of a limit that is low for a service, and what to do.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < _FEW:
        notice(
            f"at most {most} connections and files: the hard limit of open files is low; raise it with "
            "LimitNOFILE= (systemd), --ulimit nofile= (containers) or ulimit -Hn"
        )
