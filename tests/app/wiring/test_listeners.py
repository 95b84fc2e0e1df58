import socket

import pytest

from app.listen import listen
from app.wiring.listeners import Listeners, url_of


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")],
)
def test_a_url_is_one_that_this_machine_reaches(host: str, url: str) -> None:
    with listen(host, 0, "http_port") as listener:
        port = listener.getsockname()[1]
        assert url_of("http", listener) == f"http://{url}:{port}"
        socket.create_connection((url.strip("[]"), port), 5).close()


def test_without_tls_there_is_no_url_of_it() -> None:
    with listen("127.0.0.1", 0, "http_port") as http, listen("127.0.0.1", 0, "ops_port") as ops:
        listeners = Listeners(http, ops)
        assert listeners.https_url is None
        assert listeners.ports == (http.getsockname()[1],)
        assert listeners.ops_url.startswith("http://127.0.0.1:")
