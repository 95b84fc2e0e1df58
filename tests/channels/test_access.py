"""How our own clients prove who they are."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from channels.access import Access, CertificateFileError
from channels.auth import canonical, sigv4
from channels.auth.canonical import SignedRequest
from channels.auth.sigv4 import Credentials
from channels.errors import UnrecognizedClientException
from tests import signer

NOW = 1_700_000_000.0
URL = "http://127.0.0.1:8080/prefix/listSignalingChannels"
GIVEN = {"content-type": "application/json"}
KEYS = Credentials(signer.KEY_ID, signer.SECRET, "session token")
KEY = canonical.signing_key(signer.SECRET, "20231114", "us-west-2")


def test_a_token_is_borne_and_nothing_is_where_there_is_none() -> None:
    assert Access("a.b.c").headers(URL, GIVEN, b"{}", NOW) == {**GIVEN, "authorization": "Bearer a.b.c"}
    assert Access("a.b.c").socket("wss://h/x?a=1", NOW) == ("wss://h/x?a=1", {"authorization": "Bearer a.b.c"})
    assert Access().headers(URL, GIVEN, b"{}", NOW) == GIVEN
    assert Access().socket("wss://h/x", NOW) == ("wss://h/x", {})


@pytest.mark.parametrize("token", ["a\r\nx: y", "\u00e9", "a\0"])
def test_a_token_that_no_header_carries_is_refused(token: str) -> None:
    with pytest.raises(UnrecognizedClientException, match="characters"):
        Access(token).headers(URL, {}, b"", NOW)


def test_keys_sign_each_call_in_its_headers() -> None:
    headers = Access(credentials=KEYS).headers(URL, GIVEN, b"{}", NOW)
    assert headers["host"] == "127.0.0.1:8080"
    request = SignedRequest("POST", "/prefix/listSignalingChannels", "", tuple(headers.items()))
    signature = sigv4.parse(request)
    assert signature.signed_headers == "content-type;host;x-amz-date;x-amz-security-token"
    assert (signature.region, signature.session_token) == ("us-west-2", "session token")
    assert sigv4.matches(signature, request, KEY, canonical.hash_of(b"{}"))


def test_keys_sign_the_url_of_a_websocket() -> None:
    url, headers = Access(credentials=KEYS).socket("wss://h:8443/viewer?X-Amz-ClientId=v%201", NOW)
    assert headers == {}
    request = SignedRequest("GET", "/viewer", urlsplit(url).query, (("host", "h:8443"),))
    assert sigv4.matches(sigv4.parse(request), request, KEY, canonical.EMPTY_HASH)


def test_the_certificates_of_a_file_are_trusted_beside_those_of_the_system() -> None:
    assert Access().tls().verify_mode is ssl.CERT_REQUIRED
    assert Access().tls().check_hostname


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_a_file_without_certificates_is_told(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(
        CertificateFileError, match=r"ca\.pem (holds no certificate in PEM form|cannot be read: No such)"
    ):
        Access(ca_file=str(path)).tls()


def test_nothing_secret_is_shown() -> None:
    shown = repr(Access("a.b.c", ca_file="f")) + repr(Access(credentials=KEYS))
    assert not {"a.b.c", signer.SECRET, "session token"} & set(shown.replace("'", " ").split(" "))
    assert signer.KEY_ID in shown
