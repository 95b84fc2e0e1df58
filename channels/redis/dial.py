"""Opening a connection for messages: address, TLS, login, name. One attempt; who calls sets its limit."""

import asyncio
import ssl
from typing import Final

import hiredis

from channels.redis.settings import Kind, RedisSettings, RedisUrlError
from channels.redis.wire import Owner, RefusedError, Wire

Address = tuple[str, int]
_PRIMARY: Final = b"master"


def encode(*words: str | bytes | int) -> bytes:
    """A command as Redis reads it."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # it takes a tuple of any length
    return packed


class Dialer:
    """Opens connections that are logged in and answer."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._tls = tls_context(settings)

    async def open(self, address: Address | None, name: str, owner: Owner) -> Wire:
        """Connect to `address`, or to the socket path of the settings; `name` is added to ours in CLIENT LIST.

        Raises: OSError, RefusedError (wrong password, still loading, or a replica where Sentinel named a primary).
        """
        settings, loop = self._settings, asyncio.get_running_loop()
        wire = Wire(owner, settings.waiting_limit, settings.waiting_bytes_limit)
        if address is None:
            await loop.create_unix_connection(lambda: wire, settings.socket_path)
        else:
            await loop.create_connection(lambda: wire, *address, ssl=self._tls)
        try:
            await self._greet(wire, name)
        except BaseException:
            wire.abort()
            raise
        return wire

    async def _greet(self, wire: Wire, name: str) -> None:
        settings = self._settings
        commands: list[tuple[str, ...]] = []
        if settings.password or settings.username:
            commands.append(("AUTH", settings.username or "default", settings.password))
        commands.append(("CLIENT", "SETNAME", f"{settings.client_name}-{name}"))
        commands.append(("PING",))  # refused while the data are loading
        if settings.kind is Kind.SENTINEL:
            commands.append(("ROLE",))  # as Sentinel asks of its clients: it may not know the latest yet
        replies = [wire.send(encode(*command)) for command in commands]
        await asyncio.wait(replies)
        answer = [reply.result() for reply in replies][-1]
        if settings.kind is Kind.SENTINEL and not (isinstance(answer, list) and answer[0] == _PRIMARY):
            raise RefusedError("this server is a replica now")


def tls_context(settings: RedisSettings) -> ssl.SSLContext | None:
    """Return what TLS to Redis takes, None where the URL has none. Raises: RedisUrlError (a file cannot be used)."""
    if not settings.is_tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:
        raise RedisUrlError(f"ca_file {settings.ca_file}: {_words(error)}") from None
    if settings.certificate_file:
        try:
            context.load_cert_chain(settings.certificate_file, settings.key_file or None)
        except OSError as error:
            files = " and ".join(filter(None, (settings.certificate_file, settings.key_file)))
            raise RedisUrlError(f"certificate_file and key_file, {files}: {_words(error)}") from None
    return context


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "holds no PEM certificate or key that fits"
    return f"cannot be read: {error.strerror}"
