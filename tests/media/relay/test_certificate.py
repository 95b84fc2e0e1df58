"""The context that TLS clients meet."""

import ssl
from pathlib import Path

import pytest

from media.relay.certificate import CertificatePair
from tests import certificates


def shaken_hands(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> ssl.SSLObject:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client


@pytest.mark.parametrize("protocol", ["stun.turn", "stun.nat-discovery", None])
def test_protocols_of_stun_are_chosen_and_none_is_needed(tmp_path: Path, protocol: str | None) -> None:
    files = certificates.made(tmp_path)
    context = certificates.trusting(files.ca)
    if protocol is not None:
        context.set_alpn_protocols(["http/1.1", protocol])
    pair = CertificatePair(files.pair.certificate, files.pair.key)
    client = shaken_hands(certificates.tls_context(pair), context)
    assert (client.version(), client.selected_alpn_protocol()) == ("TLSv1.3", protocol)
