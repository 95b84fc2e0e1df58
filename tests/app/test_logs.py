"""No secret reaches a log: every form of credential, through a real server, whatever its level."""

import contextlib
import io
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn.config
import websockets
from hypothesis import given
from hypothesis import strategies as st

from app import logs
from app.logs import HIDDEN, JsonFormatter, RedactingFilter, TextFormatter, redact
from tests.app.log_lines import lines
from tests.live import live
from tests.signaling_service import ACCOUNT, Service, signaling_service

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


# Redaction


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/viewer?ticket=abc", "/viewer?ticket=***"),
        ("/viewer?ticket=abc&ticket=def", "/viewer?ticket=***&ticket=***"),
        ("/viewer?jwt=a.b.c&X-Amz-ClientId=v-1", "/viewer?jwt=***&X-Amz-ClientId=v-1"),
        ("/?X-Amz-Date=20260101T000000Z&X-Amz-Signature=0f", "/?X-Amz-Date=20260101T000000Z&X-Amz-Signature=***"),
        ("?X-Amz-Expires=299&X-Amz-SignedHeaders=host", "?X-Amz-Expires=299&X-Amz-SignedHeaders=host"),
        ("?x-amz-channelarn=arn:a/b", "?x-amz-channelarn=arn:a/b"),
        ("?X%2DAmz%2DClientId=v-1", "?X%2DAmz%2DClientId=v-1"),
        ("?X-Amz-Security-Token=s&X-Amz-Credential=c", "?X-Amz-Security-Token=***&X-Amz-Credential=***"),
        ("?t%6Fken=abc", "?t%6Fken=***"),
        ("?X-Amz-ClientIdx=abc", "?X-Amz-ClientIdx=***"),
        ("?abcdef", "?***"),
        ("?=abc", "?=***"),
        ("?a=b=c", "?a=***"),
        ("?" + "x" * 65 + "=1", "?***"),
        ("?&&", "?&&"),
        ('"GET /viewer?token=abc HTTP/1.1" 200', '"GET /viewer?token=*** HTTP/1.1" 200'),
        ("a?b=c then d?e=f", "a?b=*** then d?e=***"),
        ("??token=abc", "??token=***"),
        ("/viewer?X-Amz-ClientId=o'brien&ticket=abc", "/viewer?X-Amz-ClientId=o'***&ticket=***"),
        ('/viewer?a="b"&ticket=abc', '/viewer?a=***"***"&ticket=***'),
        ("/viewer?X-Amz-Expires=299#token=abc", "/viewer?X-Amz-Expires=299#token=***"),
        ("/viewer?a=<b>&token=abc", "/viewer?a=***<***>&token=***"),
        ("{'url': '/x?ticket=abc'}, done", "{'url': '/x?ticket=***'}, done"),
        ("(see /x?ticket=abc).", "(see /x?ticket=***"),
        ("Authorization: Bearer abcdefgh.ij", "Authorization: Bearer ***"),
        ("bearer.abcdefgh.ij, kvs-signaling", "bearer.***, kvs-signaling"),
        ("AWS4-HMAC-SHA256 Credential=a, Signature=b", "AWS4-HMAC-SHA256 ***"),
        (f"token {JWT} was", "token *** was"),
        (f"x_{JWT}", "x_***"),
        # harmless text stays
        ("is it there? yes", "is it there? yes"),
        (
            "no credential: send Authorization: Bearer and a token",
            "no credential: send Authorization: Bearer and a token",
        ),
        ("", ""),
    ],
)
def test_text_keeps_what_is_listed_and_hides_the_rest(text: str, shown: str) -> None:
    assert redact(text) == shown


names = st.sampled_from(["token", "jwt", "X-Kvs-Token", "ticket", "X-Amz-Signature", "X-Amz-Security-Token", "other"])
secrets = st.text("abcdefghijklmnopqrstuvwxyz0123456789._%+-", min_size=12, max_size=60).map(lambda text: "S3CR" + text)


@given(st.lists(st.tuples(names, secrets), min_size=1, max_size=5))
def test_no_value_of_a_query_survives(parameters: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={value}" for name, value in parameters)
    shown = redact(f'192.0.2.1:1 - "WebSocket /viewer?{query}" [accepted]')
    assert "S3CR" not in shown
    assert shown.endswith('" [accepted]')


@given(st.text())
def test_any_text_can_be_redacted_twice(text: str) -> None:
    assert redact(redact(text)) == redact(text)


# Form


def test_json_line_has_time_level_event_and_fields(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    log = logging.getLogger("some.part")
    log.info("viewer joined %s", "x", extra={"channel": "door", "count": 3, "nested": {"list": [JWT, None, 1.5]}})
    log.debug("not this")
    (line,) = lines(stream)
    assert list(line)[:4] == ["ts", "level", "event", "logger"]
    assert line["ts"].endswith("+00:00")
    assert (line["level"], line["event"], line["logger"]) == ("info", "viewer joined x", "some.part")
    assert (line["channel"], line["count"], line["nested"]) == ("door", 3, {"list": [HIDDEN, None, 1.5]})


def test_traceback_is_part_of_the_line_without_secrets(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    try:
        raise ValueError(f"wrong: {JWT} in /viewer?ticket=abcdef")
    except ValueError:
        logging.getLogger("x").exception("failed")
    (line,) = lines(stream)
    assert "ValueError: wrong: *** in /viewer?ticket=***" in line["error"]


def test_what_json_cannot_carry_is_written_as_text(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    fields = {"path": io, "set": {1}, "infinite": float("inf"), "surrogate": "\ud800", "level": "own"}
    logging.getLogger("x").info("odd \ud800", extra=fields)
    (line,) = lines(stream)
    assert (line["event"], line["surrogate"], line["set"]) == ("odd \\ud800", "\\ud800", [1])
    assert (line["level"], line["infinite"]) == ("info", None)
    assert "module" in line["path"]


def test_text_form_is_one_line_that_a_caller_cannot_break(stream: io.StringIO) -> None:
    logs.configure("info", "text", stream)
    logging.getLogger("x").info("joined\n00:00:00 error forged", extra={"client_id": "v\n1", "empty": "", "n": 1})
    (line,) = stream.getvalue().splitlines()
    assert line[2] == line[5] == ":"
    assert line[8:].startswith(" info    'joined\\n00:00:00 error forged'")
    assert line.endswith(" client_id='v\\n1' n=1")


def test_text_form_quotes_what_could_pass_for_further_fields(stream: io.StringIO) -> None:
    logs.configure("info", "text", stream)
    logging.getLogger("test").info("called", extra={"subject": "eve code=OK", "source": "192.0.2.1", "calls": 2})
    assert "info    called subject='eve code=OK' source=192.0.2.1 calls=2" in stream.getvalue()


def test_text_form_has_the_traceback_without_secrets(stream: io.StringIO) -> None:
    logs.configure("info", "text", stream)
    try:
        raise ValueError(f"wrong: {JWT}")
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert stream.getvalue().endswith("ValueError: wrong: ***\n")


def test_configuring_again_replaces_and_the_level_counts(stream: io.StringIO) -> None:
    logs.configure("debug", "json", io.StringIO())
    logs.configure("warning", "json", stream)
    logging.getLogger("x").info("no")
    logging.getLogger("x").warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]
    assert len(logging.getLogger().handlers) == 1
    assert len(logging.getLogger("uvicorn.error").filters) == 1


def test_debug_lines_of_libraries_stay_out(stream: io.StringIO) -> None:
    logs.configure("debug", "json", stream)
    for name in ("uvicorn.error", "uvicorn.asgi", "websockets.client", "websockets.server", "aioice.ice", "aiortc.x"):
        logging.getLogger(name).debug("a=candidate:1 1 udp 1 192.0.2.1 1 typ host")
    logging.getLogger("own").debug("ours")
    assert [line["event"] for line in lines(stream)] == ["ours"]


def record(text: str, *arguments: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("x", level, "file.py", 1, text, arguments, None)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (record("/x?ticket=abc 100%"), "/x?ticket=*** 100%"),
        (record('%s - "%s?%s" %d', "1.2.3.4:5", "/x", "t=1", 404), '1.2.3.4:5 - "/x?t=***" 404'),
        (record("/x?ticket=%s", "abc"), "/x?ticket=***"),
        (record("/x?ticket=%s at 100%%", "abc"), "/x?ticket=*** at 100%"),
        (record("> %s: %s", "authorization", "Bearer abcdefgh"), "> authorization: Bearer ***"),
        (record("is %s?", "it"), "is it?"),
        (record("%(url)s is %(n)d", {"url": "/x?ticket=abc", "n": 3}), "/x?ticket=*** is 3"),
    ],
)
def test_filter_hides_in_message_and_arguments(given: logging.LogRecord, shown: str) -> None:
    assert RedactingFilter().filter(given)
    assert given.getMessage() == shown


def test_filter_keeps_the_arguments_that_a_formatter_reads() -> None:
    given = record('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", "/x?token=a", "1.1", 404)
    assert RedactingFilter().filter(given)
    assert given.args == ("1.2.3.4:5", "GET", "/x?token=***", "1.1", 404)


def test_filter_drops_what_is_below_its_level() -> None:
    assert not RedactingFilter(logging.INFO).filter(record("x", level=logging.DEBUG))
    assert RedactingFilter(logging.INFO).filter(record("x"))


def test_filter_drops_faults_of_peers() -> None:
    for words in ("Invalid UTF-8 sequence received from client.", "Invalid HTTP request received."):
        assert not RedactingFilter().filter(logging.makeLogRecord({"msg": words, "levelno": logging.ERROR}))
    assert RedactingFilter().filter(logging.makeLogRecord({"msg": "a fault of ours", "levelno": logging.ERROR}))


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_formatter_alone_hides_too(formatter: logging.Formatter) -> None:
    given = record("%s", f"Bearer {JWT}")
    given.note = "/x?ticket=abc"
    text = formatter.format(given)
    assert JWT not in text
    assert "abc" not in text


# Through the real server


class Secrets:
    """Credentials of every form, good and bad, each different; `all` must not be seen anywhere."""

    def __init__(self, service: Service) -> None:
        self.all: list[str] = []
        self._service = service

    def good(self) -> str:
        return self._kept(self._service.token(lifetime_s=600 + len(self.all)))

    def bad(self) -> str:
        return self._kept(f"S3CRET-{len(self.all):04}-nobody-may-see-this")

    async def ticket(self, client: httpx.AsyncClient, arn: str) -> str:
        answer = await client.post(
            "/v1/connect-ticket",
            json={"channelArn": arn, "role": "VIEWER", "clientId": "v-1"},
            headers={"Authorization": f"Bearer {self.good()}"},
        )
        return self._kept(str(answer.json()["ticket"]))

    def _kept(self, secret: str) -> str:
        self.all += [secret, secret.rpartition(".")[2]]
        return secret


async def try_socket(url: str, **options: Any) -> int:
    try:
        async with websockets.connect(url, **options):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


async def use_every_credential(address: str, arn: str, secrets: Secrets) -> set[int]:
    """Open a socket and make a call with each form; gives the statuses seen."""
    statuses: set[int] = set()
    socket = f"ws://{address}/viewer?X-Amz-ChannelARN={arn}&X-Amz-ClientId=v-1"
    async with httpx.AsyncClient(base_url=f"http://{address}", verify=False) as client:
        for make in (secrets.good, secrets.bad):
            for name in ("token", "jwt", "X-Kvs-Token", "x-kvs-token", "t%6Fken", "unknown"):
                statuses.add(await try_socket(f"{socket}&{name}={make()}"))
                statuses.add((await client.post(f"/listSignalingChannels?{name}={make()}")).status_code)
            statuses.add(await try_socket(socket, additional_headers={"Authorization": f"Bearer {make()}"}))
            statuses.add(await try_socket(socket, subprotocols=["kvs-signaling", f"bearer.{make()}"]))  # type: ignore[list-item]
            statuses.add(await try_socket(f"{socket}&token={make()}&jwt={make()}"))
            for path in ("/listSignalingChannels", "/viewer", "/nowhere", "/static/viewer.js"):
                headers = {"Authorization": f"Bearer {make()}"}
                statuses.add((await client.post(f"{path}?ticket={make()}", headers=headers)).status_code)
                statuses.add((await client.get(f"{path}?ticket={make()}#{make()}", headers=headers)).status_code)
        statuses.add(await try_socket(f"{socket}&ticket={await secrets.ticket(client, arn)}"))
        statuses.add(await try_socket(f"{socket}&ticket={secrets.bad()}"))
        statuses.add(await try_socket(f"ws://{address}/nowhere?ticket={secrets.bad()}"))
        signed = (
            f"X-Amz-Credential={secrets.bad()}&X-Amz-Security-Token={secrets.bad()}&X-Amz-Signature={secrets.bad()}"
        )
        statuses.add(await try_socket(f"{socket}&{signed}"))
        header = f"AWS4-HMAC-SHA256 Credential={secrets.bad()}, SignedHeaders=host, Signature={secrets.bad()}"
        statuses.add((await client.post("/listSignalingChannels", headers={"Authorization": header})).status_code)
    return statuses


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[str, str, Secrets]]:
    async with signaling_service() as service:
        channel = await service.control.create(ACCOUNT, "door")
        async with live(service.application, **options) as address:
            yield address, str(channel.arn), Secrets(service)


@pytest.mark.parametrize(("form", "server_level"), [("json", "trace"), ("text", "info")])
async def test_no_credential_of_any_form_reaches_the_log_even_with_access_log(
    stream: io.StringIO, form: logs.Form, server_level: str
) -> None:
    logs.configure("debug", form, stream)
    async with served(access_log=True, log_level=server_level) as (address, arn, secrets):
        statuses = await use_every_credential(address, arn, secrets)
    assert {101, 200, 400, 403, 404} <= statuses
    text = stream.getvalue()
    assert "X-Amz-ClientId=v-1" in text  # the server did log its URLs
    assert "ticket=***" in text
    assert len(secrets.all) > 100
    for secret in secrets.all:
        assert secret not in text


async def test_servers_own_log_handlers_get_no_secret_either(
    stream: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", "json", stream)
    async with served(access_log=True, log_config=uvicorn.config.LOGGING_CONFIG) as (address, arn, secrets):
        await use_every_credential(address, arn, secrets)
    out, err = capfd.readouterr()
    text = stream.getvalue() + out + err
    assert '"GET /viewer?ticket=***' in text
    for secret in secrets.all:
        assert secret not in text
