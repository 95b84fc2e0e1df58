"""The parameters of a request's query, read once for all who look at them. Knows none of their names."""

from typing import Final

from starlette.requests import HTTPConnection

from channels.auth import canonical

_PARAMETERS: Final = "heliograph.query"  # key of the ASGI scope


def parameters(connection: HTTPConnection) -> list[tuple[str, str]]:
    """Names and values, decoded, in the order of the query; a signature is verified over the same reading of it."""
    found: list[tuple[str, str]] | None = connection.scope.get(_PARAMETERS)
    if found is None:
        pairs = canonical.pairs(connection.scope["query_string"].decode("latin-1"))
        found = [(canonical.decode(name), canonical.decode(value)) for name, value in pairs]
        connection.scope[_PARAMETERS] = found
    return found


def values(connection: HTTPConnection, name: str) -> list[str]:
    """The values of one parameter."""
    return [value for known, value in parameters(connection) if known == name]
