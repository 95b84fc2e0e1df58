"""A service with a channel each of two accounts, and the good requests that clients make of it."""

import json
from typing import Any
from urllib.parse import urlencode

from channels.auth.canonical import SignedRequest
from channels.auth.key_ring import AccessKey
from channels.auth.session import SessionCredentials
from channels.channel import Channel
from tests import signer
from tests.signaling_service import Service
from tests.wire import UPGRADE, Wire

OTHER_ACCOUNT = "111122223333"
DESCRIBE = "/describeSignalingChannel"


class Rig:
    """The service, a key and a session of one account, and a channel each of that account and of another."""

    def __init__(self, service: Service, mine: Channel, theirs: Channel) -> None:
        self.service = service
        self.mine = str(mine.arn)
        self.channel = mine
        self.theirs = str(theirs.arn)
        self.key: AccessKey = service.access_key()
        self.session: SessionCredentials = service.session(self.key)
        self.secrets = {self.key.secret, self.session.secret_access_key, self.session.session_token}
        self.number = 0

    @property
    def address(self) -> str:
        return self.service.address

    @property
    def wall(self) -> float:
        """The time of day of the service."""
        return self.service.wall()

    def who(self, secret: str | None = None) -> Any:
        return signer.credentials(self.key.id, secret or self.key.secret)

    @property
    def of_session(self) -> Any:
        triple = self.session
        return signer.credentials(triple.access_key_id, triple.secret_access_key, triple.session_token)

    def call(self, path: str = DESCRIBE, body: Any = None, who: Any = None, age_s: float = 0, **more: Any) -> Wire:
        """A REST call in the header form, as boto3 makes it."""
        data = json.dumps({"ChannelARN": self.mine} if body is None else body).encode()
        signed = signer.header_signed(
            f"http://{self.address}{path}",
            data,
            self.wall - age_s,
            who or self.who(),
            {"Content-Type": "application/json"},
            **more,
        )
        return self.wire(signed, data)

    def wire(self, signed: SignedRequest, data: bytes) -> Wire:
        self.note(dict(signed.headers)["authorization"].rpartition("=")[2])
        target = signed.path + (f"?{signed.query}" if signed.query else "")
        headers = {**dict(signed.headers), "content-length": str(len(data))}
        return Wire(signed.method, target, tuple(headers.items()), data)

    def url(self, host: str | None = None, arn: str | None = None, path: str = "/viewer", **more: str) -> str:
        self.number += 1
        query = {"X-Amz-ChannelARN": arn or self.mine, "X-Amz-ClientId": f"v-{self.number}", **more}
        return f"ws://{host or self.address}{path}?{urlencode(query)}"

    def open(self, url: str | None = None, who: Any = None, age_s: float = 0, **more: Any) -> Wire:
        """A websocket handshake by a presigned URL, as the JavaScript SDK makes it."""
        signed = signer.query_signed(url or self.url(), self.wall - age_s, who or self.who(), **more)
        self.note(signed.rpartition("=")[2])
        return self.handshake(signed)

    def handshake(self, url: str) -> Wire:
        return Wire("GET", "/" + url.split("/", 3)[3], (("host", self.address), *UPGRADE))

    def open_with_header(self, age_s: float = 0, who: Any = None, **more: Any) -> Wire:
        """A websocket handshake that is signed in its header."""
        signed = signer.header_signed(self.url(), b"", self.wall - age_s, who or self.who(), method="GET", **more)
        return self.wire(signed, b"").without("content-length").adding(*UPGRADE)

    def bearer(self, text: str, path: str = DESCRIBE) -> Wire:
        data = json.dumps({"ChannelARN": self.mine}).encode()
        headers = (("host", self.address), ("authorization", f"Bearer {text}"), ("content-length", str(len(data))))
        return Wire("POST", path, headers, data)

    def token(self) -> str:
        text = self.service.token()
        self.note(text)
        return text

    def note(self, secret: str) -> None:
        self.secrets.add(secret)
