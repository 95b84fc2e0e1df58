import base64
import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.signaling import messages
from channels.signaling.limits import Limits
from channels.signaling.messages import FRAME_LIMIT, Action, ClientMessage, Event, FrameError, Status

CAP = 16_000
IDS = st.text("abcXYZ019_.-", min_size=1, max_size=256)
PAYLOADS = st.binary(max_size=600).map(lambda data: base64.b64encode(data).decode())


def decode(frame: str, cap: int = CAP) -> ClientMessage:
    return messages.decode(frame, cap)


def test_a_camel_case_frame_is_read() -> None:
    frame = '{"action":"SDP_OFFER","recipientClientId":"v1","messagePayload":"AAAA","correlationId":"c-1"}'

    assert decode(frame) == ClientMessage(Action.SDP_OFFER, "AAAA", "v1", "c-1")


def test_the_form_of_the_c_sdk_is_read_and_its_turn_password_dropped() -> None:
    frame = (
        '{\n\t"action": "SDP_OFFER",\n\t"RecipientClientId": "ProducerMaster",\n\t"MessagePayload": "AAAA",\n'
        '\t"CorrelationId": "1",\n\t"IceServerList": [{"Password": "secret", "Uris": ["turn:x"]}]\n}'
    )

    message = decode(frame)

    assert message == ClientMessage(Action.SDP_OFFER, "AAAA", "ProducerMaster", "1")
    assert b"secret" not in messages.encode(message, "v1")


@pytest.mark.parametrize("change", [str.upper, str.lower, str.title, str.swapcase])
def test_keys_match_in_any_case(change: object) -> None:
    names = {"action": "ICE_CANDIDATE", "messagePayload": "AAAA", "recipientClientId": "v", "correlationId": "c"}
    frame = json.dumps({change(name): value for name, value in names.items()})  # type: ignore[operator]

    assert decode(frame) == ClientMessage(Action.ICE_CANDIDATE, "AAAA", "v", "c")


def test_a_sender_in_the_frame_and_unknown_keys_are_ignored() -> None:
    frame = '{"action":"SDP_ANSWER","messagePayload":"","senderClientId":{"a":1},"x":[{}],"recipientClientId":null}'

    assert decode(frame) == ClientMessage(Action.SDP_ANSWER, "")


def test_of_two_equal_keys_the_last_counts() -> None:
    assert decode('{"action":"SDP_OFFER","messagePayload":"AAAA","messagePayload":"BBBB"}').payload == "BBBB"


def test_two_spellings_of_one_key_are_refused() -> None:
    with pytest.raises(FrameError, match="messagePayload comes twice") as caught:
        decode('{"action":"SDP_OFFER","messagePayload":"AAAA","MessagePayload":"BBBB","correlationId":"c"}')

    assert caught.value.correlation_id == "c"


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ("hello", "one JSON object"),
        ("[]", "one JSON object"),
        ('"text"', "one JSON object"),
        ("{}", "no action"),
        ('{"action":"SDP_OFFER"}', "no messagePayload"),
        ('{"messagePayload":"AAAA"}', "no action"),
        ('{"action":"GO_AWAY","messagePayload":"AAAA"}', "must be SDP_OFFER, SDP_ANSWER or ICE_CANDIDATE"),
        ('{"action":"sdp_offer","messagePayload":"AAAA"}', "must be SDP_OFFER"),
        ('{"action":1,"messagePayload":"AAAA"}', "action must be a string"),
        ('{"action":"SDP_OFFER","messagePayload":{"a":1}}', "messagePayload must be a string"),
        ('{"action":"SDP_OFFER","messagePayload":null}', "messagePayload must be a string"),
        ('{"action":"SDP_OFFER","messagePayload":"AAAA","recipientClientId":7}', "recipientClientId must be a string"),
        ('{"action":"SDP_OFFER","messagePayload":"AAAA","correlationId":"a b"}', "correlationId must be"),
        ('{"Action":"SDP_OFFER","messagePayload":"AAAA","correlationId":"a b"}', "correlationId must be"),
        ('{"action":"SDP_OFFER","messagePayload":"A"}', "must be base64"),
        ('{"action":"SDP_OFFER","messagePayload":"AA=A"}', "must be base64"),
        ('{"action":"SDP_OFFER","messagePayload":"AAA=="}', "must be base64"),
        ('{"action":"SDP_OFFER","messagePayload":"AA A"}', "must be base64"),
        ('{"action":"SDP_OFFER","messagePayload":"====",}', "one JSON object"),
        ('{"action":"SDP_OFFER","messagePayload":"===="}', "must be base64"),
        ('{"action":"SDP_OFFER","messagePayload":"ÄÖÜA"}', "must be base64"),
        ('{"action":"SDP_OFFER","messagePayload":"\\ud800AAA"}', "JSON object|base64"),
        ("[" * 50_000, "one JSON object"),
        ('{"a":' * 20_000, "one JSON object"),
    ],
)
def test_a_frame_that_breaks_the_rules_is_named(frame: str, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        decode(frame)


def test_the_correlation_id_of_a_bad_frame_is_kept() -> None:
    with pytest.raises(FrameError) as caught:
        decode('{"action":"SDP_OFFER","messagePayload":"%%%%","correlationId":"c-9"}')

    assert caught.value.correlation_id == "c-9"


def test_a_payload_over_the_cap_names_the_limit() -> None:
    assert decode('{"action":"SDP_OFFER","messagePayload":"AAAA"}', 4).payload == "AAAA"
    with pytest.raises(FrameError, match="payload_characters is 4"):
        decode('{"action":"SDP_OFFER","messagePayload":"AAAAAAAA"}', 4)


@pytest.mark.parametrize("payload", ["", "AAAA", "AAA=", "AA==", "AAA", "AA", "-_-_", "+/+/"])
def test_base64_passes_padded_or_not_in_both_alphabets(payload: str) -> None:
    assert decode(json.dumps({"action": "SDP_OFFER", "messagePayload": payload})).payload == payload


@given(st.sampled_from(Action), PAYLOADS, st.one_of(st.just(""), IDS), st.one_of(st.just(""), IDS))
def test_what_our_client_encodes_is_read_back(action: Action, payload: str, recipient: str, correlation: str) -> None:
    message = ClientMessage(action, payload, recipient, correlation)

    assert decode(messages.encode_client(message)) == message


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda data: data.decode("latin-1"))))
def test_any_text_is_a_message_or_the_one_error(frame: str) -> None:
    with contextlib.suppress(FrameError):
        assert isinstance(decode(frame), ClientMessage)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["AAAA", "SDP_OFFER"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)
KEYS = st.sampled_from(["action", "Action", "messagePayload", "MESSAGEPAYLOAD", "recipientClientId", "correlationId"])


@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_any_json_object_is_a_message_or_the_one_error(body: dict[str, object]) -> None:
    with contextlib.suppress(FrameError):
        assert isinstance(decode(json.dumps(body)), ClientMessage)


@given(PAYLOADS, st.sampled_from(Action))
def test_the_server_frame_carries_the_payload_byte_for_byte(payload: str, action: Action) -> None:
    frame = messages.encode(ClientMessage(action, payload), "v1")

    assert json.loads(frame) == {"messagePayload": payload, "messageType": action.value, "senderClientId": "v1"}
    assert messages.decode_server(frame).message_payload == payload


def test_a_message_without_sender_has_no_sender_key() -> None:
    frame = messages.encode(ClientMessage(Action.SDP_ANSWER, ""), None)

    assert json.loads(frame) == {"messagePayload": "", "messageType": "SDP_ANSWER"}


def test_a_status_has_an_empty_payload_and_a_string_code() -> None:
    frame = messages.encode_status(Status("c", "ResourceNotFoundException", "404", "no viewer"))

    assert json.loads(frame) == {
        "messagePayload": "",
        "messageType": "STATUS_RESPONSE",
        "statusResponse": {
            "correlationId": "c",
            "errorType": "ResourceNotFoundException",
            "statusCode": "404",
            "description": "no viewer",
        },
    }


def test_a_long_description_is_cut_to_what_the_c_sdk_takes() -> None:
    frame = messages.encode_status(Status("c", "X", "400", "é" * 5000))

    assert len(json.loads(frame)["statusResponse"]["description"]) == 1024
    assert len(frame) < FRAME_LIMIT


def test_the_largest_frame_stays_under_what_the_c_sdk_takes() -> None:
    largest = msgspec.structs.replace(Limits.aws(), payload_characters=18_050).payload_characters
    frame = messages.encode(ClientMessage(Action.ICE_CANDIDATE, "A" * largest), "v" * 256)

    assert len(frame) < FRAME_LIMIT


@given(st.binary(max_size=200))
def test_any_server_bytes_are_a_message_or_the_one_error(frame: bytes) -> None:
    with contextlib.suppress(FrameError):
        messages.decode_server(frame)


@pytest.mark.parametrize("event", Event)
def test_an_event_has_an_empty_payload(event: Event) -> None:
    assert messages.encode_event(event) == f'{{"messagePayload":"","messageType":"{event.value}"}}'.encode()
