import contextlib
import json
import socket
from pathlib import Path

import msgspec

from app import cli_worker
from app.exits import Exit
from app.parent import ParentLink
from app.settings import Settings
from app.wiring.orders import WorkerOrder


def test_what_hinders_a_worker_is_told_to_its_parent(tmp_path: Path) -> None:
    keys = tmp_path / "shared" / "keys"
    keys.mkdir(mode=0o700, parents=True)
    (keys / "2026.pem").write_text("nonsense")
    (keys / "2026.pem").chmod(0o600)
    settings = Settings(data_dir=str(tmp_path), redis_url="redis://127.0.0.1:1")
    parent, ours = socket.socketpair()
    link = ParentLink(ours.detach())
    with parent, contextlib.closing(link), socket.socket() as http, socket.socket() as ops:
        order = WorkerOrder(settings, str(tmp_path / "shared"), 0, 0, http.fileno(), ops.fileno())
        parent.sendall(msgspec.json.encode(order) + b"\n")
        assert cli_worker.run(link) == Exit.USAGE
        refused = json.loads(parent.recv(65_536))["refused"]
    assert refused["exit_code"] == Exit.USAGE
    assert refused["message"].startswith("DATA_DIR: the token keys cannot be used")
