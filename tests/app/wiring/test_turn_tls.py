import logging
import ssl
from pathlib import Path

import pytest

from app.certificates import DevelopmentFiles
from app.settings import SettingsError
from app.wiring.turn_tls import TurnTls
from tests.certificates import made, trusting


@pytest.fixture
def files(tmp_path: Path) -> DevelopmentFiles:
    return made(tmp_path, ("turn.test", "*.relay.test", "127.0.0.1"))


@pytest.fixture
def tls(files: DevelopmentFiles) -> TurnTls:
    return TurnTls(str(files.pair.certificate), str(files.pair.key))


@pytest.mark.parametrize(
    ("host", "name"), [("127.0.0.1", ""), ("10.0.0.1", "turn.test"), ("10.0.0.1", "eu.relay.test")]
)
def test_a_certificate_is_for_its_names_and_addresses(tls: TurnTls, host: str, name: str) -> None:
    assert tls.is_for(host, name)


def test_an_address_that_is_not_in_it_is_told_and_left_out(tls: TurnTls, caplog: pytest.LogCaptureFixture) -> None:
    assert not tls.is_for("10.0.0.1", "")
    (record,) = caplog.records
    assert (record.levelno, vars(record)["address"]) == (logging.WARNING, "10.0.0.1")
    assert vars(record)["certificate"] == "turn.test, *.relay.test, 127.0.0.1"


def test_a_name_that_is_not_in_it_is_refused(tls: TurnTls) -> None:
    with pytest.raises(SettingsError, match=r"TURN_HOST_NAME: .* is not for other.test, but for turn.test, \*\.relay"):
        tls.is_for("127.0.0.1", "other.test")


def test_files_of_no_use_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"TURN_TLS_CERTIFICATE: .*no.pem cannot be read"):
        TurnTls(str(tmp_path / "no.pem"), str(tmp_path / "no.key"))


def test_changed_files_are_taken_up_and_counted(tls: TurnTls, files: DevelopmentFiles) -> None:
    assert not tls.refresh()
    files.pair.certificate.unlink()
    made(files.ca.parent.parent, ("127.0.0.1",))
    assert [tls.refresh() for _ in range(3)] == [False, True, False]
    assert tls.counters() == {"certificates.loaded": 1.0, "certificates.refused": 0.0}


def test_it_offers_the_protocols_of_stun(tls: TurnTls, files: DevelopmentFiles) -> None:
    client = trusting(files.ca)
    client.set_alpn_protocols(["stun.turn"])
    ends = (ssl.MemoryBIO(), ssl.MemoryBIO())
    ours = tls.context.wrap_bio(*ends, server_side=True)
    theirs = client.wrap_bio(*ends[::-1], server_hostname="127.0.0.1")
    for end in (theirs, ours, theirs, ours):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert theirs.selected_alpn_protocol() == "stun.turn"
