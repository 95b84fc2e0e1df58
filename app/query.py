"""The parameters of a request's query, read once for all who look at them. Knows none of their names."""

from typing import Final

from starlette.requests import HTTPConnection

from channels.auth import canonical

_PARAMETERS: Final = "heliograph.query"  # key of the ASGI scope


def parameters(connection: HTTPConnection) -> list[tuple[str, str]]:
    """Names and values, decoded, in the order of the query; a signature is verified over the same reading of it.

    One that is longer than any client's has none: whoever authenticates refuses it (`refuse_oversized`).
    """
    found: list[tuple[str, str]] | None = connection.scope.get(_PARAMETERS)
    if found is None:
        query = connection.scope["query_string"].decode("latin-1")
        pairs = canonical.pairs(query) if canonical.is_sensible("", query) else []
        found = [(canonical.decode(name), canonical.decode(value)) for name, value in pairs]
        connection.scope[_PARAMETERS] = found
    return found


def values(connection: HTTPConnection, name: str) -> list[str]:
    """The values of one parameter."""
    return [value for known, value in parameters(connection) if known == name]


def refuse_oversized(connection: HTTPConnection) -> None:
    """Do nothing when the query is as long as a client's may be. Raises: InvalidArgumentException."""
    canonical.check_size("", connection.scope["query_string"].decode("latin-1"))
