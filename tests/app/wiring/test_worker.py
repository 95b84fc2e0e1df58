import contextlib
import datetime
import socket
from pathlib import Path

import pytest

from app import certificates
from app.settings import Settings, SettingsError
from app.wiring import worker
from app.wiring.orders import WorkerOrder


@pytest.fixture
def made(tmp_path: Path) -> certificates.DevelopmentFiles:
    return certificates.make_development_files(tmp_path, ("localhost",), datetime.datetime.now(datetime.UTC))


def test_it_serves_the_certificate_of_the_parent_on_its_own_socket(made: certificates.DevelopmentFiles) -> None:
    with contextlib.ExitStack() as stack, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        files = (str(made.pair.certificate), str(made.pair.key))
        order = WorkerOrder(Settings(), "", 0, 0, 1, 2, bound.detach(), files, str(made.ca))
        listener = worker._tls(order, stack)
        assert listener is not None
        assert (listener.port, listener.ca, listener.tls.pair) == (port, made.ca, made.pair)
        assert order.descriptors == (1, 2, order.https)


def test_without_tls_there_is_no_certificate() -> None:
    order = WorkerOrder(Settings(), "", 0, 0, 1, 2)
    with contextlib.ExitStack() as stack:
        assert worker._tls(order, stack) is None
    assert order.descriptors == (1, 2)


def test_a_certificate_that_went_away_is_told_by_its_setting(made: certificates.DevelopmentFiles) -> None:
    made.pair.key.unlink()
    files = (str(made.pair.certificate), str(made.pair.key))
    with contextlib.ExitStack() as stack, pytest.raises(SettingsError, match=r"^TLS_CERTIFICATE: .*server\.key"):
        worker._tls(WorkerOrder(Settings(), "", 0, 0, 1, 2, socket.socket().detach(), files), stack)
