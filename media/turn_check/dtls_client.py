"""The client's side of DTLS over UDP, for a check: handshake with repeats, messages in and out (RFC 6347, RFC 7350)."""

import asyncio
import contextlib
from collections.abc import Iterator

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from media.relay.certificate import ALPN
from media.turn import dtls_records
from media.turn_check.link import UdpLink
from media.turn_check.verdict import LinkError, Trouble

_FLIGHT_BYTES = 1200
_MOST_BYTES = 65536
_DTLS_1_2 = 0xFEFD


class DtlsLink:
    """One session over a UDP socket that is its own. `verify_code` says what is wrong with the certificate, 0: nothing.

    The certificate is judged by its chain alone, which must lead to a CA that this system trusts, or to one of the PEM
    file `ca_file`; whether it has the server's name is for the caller to say.
    """

    def __init__(self, below: UdpLink, server_name: str, ca_file: str = "") -> None:
        self.repeat_s = below.repeat_s
        self.verify_code = 0
        self._below = below
        self._connection = SSL.Connection(_context(ca_file, self._judge))
        self._connection.set_connect_state()
        self._connection.set_ciphertext_mtu(_FLIGHT_BYTES)
        if not server_name.replace(".", "").isdigit() and ":" not in server_name:
            self._connection.set_tlsext_host_name(server_name.encode())

    async def shake_hands(self) -> None:
        """Shake hands. Raises: LinkError."""
        while True:
            try:
                self._connection.do_handshake()
            except SSL.WantReadError:
                self._flush()
                await self._wait()
            except SSL.Error as error:
                raise LinkError(Trouble.TLS, _words(error)) from error
            else:
                self._flush()
                return

    @property
    def certificate(self) -> bytes:
        """The server's certificate in DER form."""
        found = self._connection.get_peer_certificate()
        return b"" if found is None else found.to_cryptography().public_bytes(Encoding.DER)

    @property
    def protocol(self) -> str:
        """The version of DTLS."""
        return self._connection.get_protocol_version_name()

    def send(self, message: bytes) -> None:
        """Send one message in one record. Raises: LinkError."""
        with _translated():
            self._connection.send(message)
        self._flush()

    async def receive(self) -> bytes:
        """Return the next message. Raises: LinkError."""
        while True:
            with contextlib.suppress(SSL.WantReadError), _translated():
                return self._connection.recv(_MOST_BYTES)
            self._connection.bio_write(await self._below.receive())

    def close(self) -> None:
        """Say goodbye and close the socket."""
        with contextlib.suppress(SSL.Error, LinkError):
            self._connection.shutdown()
            self._flush()
        self._below.close()

    async def _wait(self) -> None:
        """Wait for the next datagram of the handshake, or until ours is to be repeated."""
        left_s = self._connection.DTLSv1_get_timeout()
        try:
            async with asyncio.timeout(left_s):
                datagram = await self._below.receive()
        except TimeoutError:
            with _translated():
                self._connection.DTLSv1_handle_timeout()
            self._flush()
        else:
            self._connection.bio_write(datagram)

    def _flush(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            for datagram in dtls_records.flight(self._connection.bio_read(_MOST_BYTES), _FLIGHT_BYTES):
                self._below.send(datagram)

    def _judge(self, _connection: SSL.Connection, _certificate: crypto.X509, code: int, _depth: int, _ok: int) -> bool:
        self.verify_code = self.verify_code or code
        return True


def _context(ca_file: str, judge: object) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
    context.set_min_proto_version(_DTLS_1_2)
    context.set_options(SSL.OP_NO_QUERY_MTU)
    context.set_alpn_protos([name.encode() for name in ALPN])
    context.set_default_verify_paths()
    if ca_file:
        context.load_verify_locations(ca_file)
    context.set_verify(SSL.VERIFY_PEER, judge)  # type: ignore[arg-type]  # a method, of the shape it wants
    return context


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SSL.WantReadError:
        raise
    except SSL.ZeroReturnError as error:
        raise LinkError(Trouble.CLOSED) from error
    except SSL.Error as error:
        raise LinkError(Trouble.TLS, _words(error)) from error


def _words(error: SSL.Error) -> str:
    # an error of OpenSSL is a list of (library, function, reason)
    reasons = [entry[-1] for entry in (error.args[0] if error.args else ()) if isinstance(entry, tuple)]
    return str(reasons[0]) if reasons else "no DTLS"
