"""Session credentials as they are handed out, in the shape of AWS's credential providers for devices."""

import datetime

import msgspec

from channels.auth.session import SessionCredentials


class IssuedCredentials(msgspec.Struct, frozen=True, rename="camel"):
    """The triple, and when it ends: `YYYY-MM-DDTHH:MM:SSZ`."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: str

    def __repr__(self) -> str:
        return f"IssuedCredentials({self.access_key_id!r}, ***)"


class CreateCredentialsOutput(msgspec.Struct, frozen=True):
    """Answer of CreateCredentials."""

    credentials: IssuedCredentials


def issued(made: SessionCredentials) -> CreateCredentialsOutput:
    """Return `made` as it is handed out."""
    return CreateCredentialsOutput(
        IssuedCredentials(made.access_key_id, made.secret_access_key, made.session_token, iso(made.expires_at))
    )


def iso(wall_s: float) -> str:
    """Return an instant in epoch seconds as AWS writes it, in UTC and whole seconds."""
    return f"{datetime.datetime.fromtimestamp(int(wall_s), datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
