"""Child processes that tests make of a few lines: they speak the protocol of the socketpair."""

import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def script(tmp_path: Path, body: str) -> tuple[str, ...]:
    """Return the command of a child that speaks the protocol of the socketpair."""
    path = tmp_path / "child.py"
    head = """
        import json, os, signal, socket, sys, time
        sys.path.insert(0, ROOT)
        link = socket.socket(fileno=int(sys.argv[-1]))
        lines = link.makefile("rb")
        order = json.loads(lines.readline())
        def say(**report): link.sendall(json.dumps(report).encode() + b"\\n")
    """
    path.write_text(f"ROOT = {str(ROOT)!r}\n" + textwrap.dedent(head) + textwrap.dedent(body))
    return (sys.executable, str(path))
