import pytest

from app.loopback import is_loopback


@pytest.mark.parametrize(
    "place",
    ["127.0.0.1", "127.0.0.1:8080", "127.1.2.3", "::1", "[::1]:8443", "localhost", "LOCALHOST:1", "m-1.kvs.localhost"],
)
def test_a_place_on_this_machine(place: str) -> None:
    assert is_loopback(place)


@pytest.mark.parametrize(
    "place",
    [
        "", "0.0.0.0", "::", "[::]:80", "192.0.2.1", "128.0.0.1:80", "localhost.example.com",
        "localhost.example.com:80", "notlocalhost",
        "127.0.0.1.example.com", "127.0.0.1:80:80", "127.0.0.1:x", "[::1", "localhost@example.com",
        "127.0.0.1 ", "localhost\n",
    ],
)  # fmt: skip
def test_any_other_place(place: str) -> None:
    assert not is_loopback(place)
