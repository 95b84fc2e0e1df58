"""Free ports: told once, bindable, and never of the block of another process."""

import socket
import subprocess
import sys

from app.settings import Settings
from tests import ports


def test_no_port_is_told_twice_in_a_row_and_none_is_a_relay_port() -> None:
    settings = Settings()
    told = [ports.free_port() for _ in range(50)]
    assert len(set(told)) == len(told)
    assert not {*told} & {*range(settings.turn_min_port, settings.turn_max_port + 1)}


def test_a_port_that_somebody_has_is_passed_over() -> None:
    first = ports.free_port()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as somebody:
            somebody.bind(("127.0.0.1", first))
            assert not ports._is_free(first)
    assert ports._is_free(first)


def test_another_process_has_another_block() -> None:
    ours = {ports.free_port() // ports._SIZE}
    program = "from tests.ports import free_port; print(free_port())"
    done = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(2)
    ]
    assert not {int(each.stdout) // ports._SIZE for each in done} & ours
