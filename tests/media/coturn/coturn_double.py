"""A program that takes coturn's place in tests: it tells a version, answers Binding, notes SIGUSR2, ends when told."""

import stat
import sys
from pathlib import Path

_PROGRAM = """#!{python}
import pathlib, signal, socket, sys
if sys.argv[1] == "--version":
    print("{version}")
    sys.exit(0)
if {fails}:
    sys.exit(3)
lines = pathlib.Path(sys.argv[2]).read_text().splitlines()
port = int(next(line for line in lines if line.startswith("listening-port=")).partition("=")[2])
signal.signal(signal.SIGUSR2, lambda *_: pathlib.Path({noted!r}).write_text("told"))
signal.signal(signal.SIGTERM, lambda *_: {at_term})
handle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
handle.bind(("127.0.0.1", port))
left = {answers}
while True:
    data, source = handle.recvfrom(1500)
    if left:
        left -= 1
        handle.sendto(b"\\x01\\x01\\x00\\x00" + data[4:20], source)
"""


def program(
    folder: Path, version: str = "4.10.0", *, fails: bool = False, answers: int = -1, ignores_term: bool = False
) -> str:
    """Write the program and return its path; `answers` is how many Binding requests it answers, -1 all."""
    path = folder / "turnserver"
    at_term = "None" if ignores_term else "sys.exit(0)"
    noted = str(folder / "noted")
    path.write_text(
        _PROGRAM.format(
            python=sys.executable, version=version, fails=fails, answers=answers, at_term=at_term, noted=noted
        )
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)
