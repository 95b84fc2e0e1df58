"""Requests signed by botocore, the independent signer: at any time, for any host, with any set of signed headers."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from channels.auth.canonical import SignedRequest

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGION = "us-west-2"


class _At:
    """Signs at `now`, and of the headers only those named in `only`, where it is given."""

    now: float
    only: Sequence[str] | None

    def _modify_request_before_signing(self, request: Any) -> None:
        moment = datetime.datetime.fromtimestamp(self.now, datetime.UTC)
        request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
        super()._modify_request_before_signing(request)  # type: ignore[misc]  # of the class beside

    def headers_to_sign(self, request: Any) -> Any:
        found = super().headers_to_sign(request)  # type: ignore[misc]  # as above
        if self.only is None:
            return found
        for name in set(found.keys()) | {name.lower() for name in request.headers}:
            del found[name]
        for name in self.only:
            found[name] = request.headers[name] if name in request.headers else urlsplit(request.url).netloc
        return found


class _Header(_At, SigV4Auth):
    pass


class _Query(_At, SigV4QueryAuth):
    pass


def credentials(key_id: str = KEY_ID, secret: str = SECRET, token: str | None = None) -> Credentials:
    return Credentials(key_id, secret, token)


def header_signed(
    url: str,
    body: bytes,
    now: float,
    who: Credentials | None = None,
    headers: Mapping[str, str] | None = None,
    only: Sequence[str] | None = None,
    *,
    method: str = "POST",
    region: str = REGION,
    service: str = "kinesisvideo",
) -> SignedRequest:
    """A request in the header form, as the service gets it; `only` are the signed headers where botocore's rule is
    not the client's."""
    request = AWSRequest(method, url, data=body, headers=dict(headers or {}))
    signer = _Header(who or credentials(), service, region)
    signer.now, signer.only = now, only
    signer.add_auth(request)
    return received(method, url, [("Host", urlsplit(url).netloc), *request.headers.items()])


def query_signed(
    url: str,
    now: float,
    who: Credentials | None = None,
    *,
    expires_s: int = 299,
    region: str = REGION,
    service: str = "kinesisvideo",
) -> str:
    """A presigned URL."""
    request = AWSRequest("GET", url)
    signer = _Query(who or credentials(), service, region, expires_s)
    signer.now, signer.only = now, ["host"]
    signer.add_auth(request)
    return str(request.url)


def received(
    method: str, url: str, headers: Sequence[tuple[str, str]] | None = None, host: str | None = None
) -> SignedRequest:
    """What the service gets of a URL and headers; without headers only `host`, which may differ from the URL's."""
    parts = urlsplit(url)
    given = headers if headers is not None else [("host", host or parts.netloc)]
    wire = tuple((name.lower(), value.encode().decode("latin-1")) for name, value in given)
    return SignedRequest(method, parts.path, parts.query, wire)
