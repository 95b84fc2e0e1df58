"""What one process tells the others of its relay ports."""

import os
import subprocess
import sys
from pathlib import Path

from media.relay.board import Board, Siblings, shared

ROOT = Path(__file__).parents[3]


def test_port_is_open_as_long_as_a_relay_of_either_family_is() -> None:
    board = Board()
    assert 50000 not in board
    board.opened(50000)
    board.opened(50000)
    board.closed(50000)
    assert 50000 in board
    board.closed(50000)
    assert 50000 not in board
    assert 65535 not in board


def test_another_process_sees_it_and_only_ports_that_are_not_its_own_are_siblings() -> None:
    path, descriptor = shared()
    board = Board(path)
    siblings = Siblings(frozenset((50000, 50001)), board)
    there = f"from media.relay.board import Board; board = Board({path!r}); board.opened(50000); board.opened(50002)"
    subprocess.run([sys.executable, "-c", there], cwd=ROOT, check=True)
    assert [port in board for port in (50000, 50001, 50002)] == [True, False, True]
    assert [port in siblings for port in (50000, 50001, 50002)] == [True, False, False]
    assert siblings == Siblings(frozenset((50000, 50001)), board) != Siblings(frozenset((50000, 50001)), Board(path))
    os.close(descriptor)
