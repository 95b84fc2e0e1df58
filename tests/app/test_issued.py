import json

import msgspec

from app.issued import iso, issued
from channels.auth.session import SessionCredentials

MADE = SessionCredentials("ASIA1", "hush", "eyJ.a.b", 1_700_000_000)


def test_the_shape_is_that_of_providers_for_devices() -> None:
    assert json.loads(msgspec.json.encode(issued(MADE))) == {
        "credentials": {
            "accessKeyId": "ASIA1",
            "secretAccessKey": "hush",
            "sessionToken": "eyJ.a.b",
            "expiration": "2023-11-14T22:13:20Z",
        }
    }


def test_no_secret_shows() -> None:
    for shown in (repr(issued(MADE)), repr(issued(MADE).credentials)):
        assert "hush" not in shown
        assert "eyJ" not in shown


def test_an_instant_is_in_utc_and_whole_seconds() -> None:
    assert iso(0.999) == "1970-01-01T00:00:00Z"
