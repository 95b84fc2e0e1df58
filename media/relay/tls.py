"""One TLS connection as a pipe: bytes of the network in, plaintext out, and back. No socket."""

import ssl

from media.turn.effects import Buffer

MOST_RECORD_BYTES = 16384

_OLD_VERSIONS = frozenset(("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "WRONG_VERSION_NUMBER"))


class TlsError(Exception):
    """The connection cannot go on. `reason`: `alert` when the client refused us, `version` when it is too old for us,
    else `protocol`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TlsPipe:
    """The server's end.

    Raises: ConnectionAbortedError when the context wants no more handshakes.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.is_open = False
        self.is_ended = False

    def take(self, data: memoryview) -> None:
        """Take bytes that came from the network."""
        self._incoming.write(data)

    def shake_hands(self) -> bool:
        """Go on with the handshake as far as it gets; True, and `is_open`, when it has ended.

        Raises: TlsError; what is to be sent tells the client why.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise TlsError(_reason(error)) from error
        self.is_open = True
        return True

    def read_into(self, room: memoryview) -> int:
        """Write the plaintext of what came into `room` and return its length; `is_ended` when it was the last.

        `room` must hold all that was taken since, and one record.
        Raises: TlsError
        """
        at, incoming, read = 0, self._incoming, self._tls.read
        try:
            # asked only while there is something, since each WantRead costs as much as a record
            while incoming.pending:
                count = read(MOST_RECORD_BYTES, room[at:])
                if not count:
                    self.is_ended = True
                    break
                at += count  # type: ignore[operator]  # with a buffer it is a count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise TlsError(_reason(error)) from error
        return at

    def write(self, data: Buffer) -> None:
        """Encrypt data for the client, in as few records as it fits.

        Raises: TlsError
        """
        write = self._tls.write
        try:
            count = write(data)
            while count < len(data):
                data = memoryview(data)[count:]
                count = write(data)
        except ssl.SSLError as error:
            raise TlsError(_reason(error)) from error

    def outgoing(self) -> bytes:
        """Return the bytes that are to be sent to the network."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def end(self) -> None:
        """Say goodbye (close_notify) with the last bytes outgoing."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            return  # the client's goodbye has not come, and is not waited for


def _reason(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if reason in _OLD_VERSIONS:
        return "version"
    return "alert" if "ALERT" in reason else "protocol"
