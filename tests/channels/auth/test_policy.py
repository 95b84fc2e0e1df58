"""Truth table of policy documents, as IAM decides; what cannot be evaluated never widens rights."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.auth import policy
from channels.auth.grant import Grant, Statement, decide
from channels.auth.policy import PolicyError

ACCOUNT = "000000000000"
ARN = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/door/1700000000000"
REBORN = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/door/1700000000001"
GATE = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/gate/1700000000000"
ABROAD = f"arn:aws:kinesisvideo:eu-west-1:{ACCOUNT}:channel/door/1700000000000"
FOREIGN = "arn:aws:kinesisvideo:us-west-2:111111111111:channel/door/1700000000000"
DOOR = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/door/*"
STREAM = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:stream/door/1700000000000"
K = "kinesisvideo:"
VIEW, MASTER, LIST, DELETE = "ConnectAsViewer", "ConnectAsMaster", "ListSignalingChannels", "DeleteSignalingChannel"
IP = {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}
ROOT = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}


def allow(action: Any, resource: Any, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any, resource: Any, **more: Any) -> dict[str, Any]:
    return allow(action, resource, **more) | {"Effect": "Deny"}


def document(*statements: Any, version: str | None = "2012-10-17", **more: Any) -> bytes:
    content = {"Statement": statements[0] if len(statements) == 1 else list(statements), **more}
    return json.dumps(content if version is None else {"Version": version, **content}).encode()


def without(statement: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in statement.items() if key != name} | more


ALL = allow("*", "*")

# statements, action, resource, allowed?
TABLE: list[tuple[tuple[dict[str, Any], ...], str, str, bool]] = [
    # default deny
    ((allow("s3:*", "*"),), VIEW, ARN, False),
    ((deny(K + MASTER, "*"),), VIEW, ARN, False),
    # exact names
    ((allow(K + VIEW, ARN),), VIEW, ARN, True),
    ((allow(K + VIEW, ARN),), MASTER, ARN, False),
    ((allow(K + VIEW, ARN),), VIEW, REBORN, False),
    ((allow(K + VIEW, ARN),), VIEW, GATE, False),
    ((allow(K + VIEW, ARN),), VIEW, ABROAD, False),
    ((allow(K + VIEW, ARN),), VIEW, FOREIGN, False),
    ((allow(K + VIEW, STREAM),), VIEW, ARN, False),
    # a text or a list
    ((allow([K + VIEW], [ARN]),), VIEW, ARN, True),
    ((allow([K + VIEW, K + MASTER], [GATE, ARN]),), MASTER, ARN, True),
    ((allow([K + VIEW, K + MASTER], [GATE, ARN]),), DELETE, ARN, False),
    ((allow([K + VIEW, "s3:GetObject"], "*"),), VIEW, ARN, True),
    # actions: any case, wild, short prefix
    ((allow("KINESISVIDEO:connectasviewer", ARN),), VIEW, ARN, True),
    ((allow("KinesisVideo:Connect*", ARN),), MASTER, ARN, True),
    ((allow(K + "Connect*", ARN),), DELETE, ARN, False),
    ((allow(K + "*", ARN),), DELETE, ARN, True),
    ((allow("*", ARN),), DELETE, ARN, True),
    ((allow("*:*", ARN),), DELETE, ARN, True),
    ((allow("kinesis*:*", ARN),), DELETE, ARN, True),
    ((allow("s*:*", ARN),), DELETE, ARN, False),
    ((allow(K + "ConnectAs??????", ARN),), VIEW, ARN, True),
    ((allow(K + "ConnectAs?????", ARN),), VIEW, ARN, False),
    ((allow("kvs:" + VIEW, ARN),), VIEW, ARN, True),
    ((allow("kinesis:" + VIEW, ARN),), VIEW, ARN, False),
    # resources: the whole ARN, in its case; a star crosses : and /
    ((allow(K + VIEW, "*"),), VIEW, ARN, True),
    ((allow(K + VIEW, DOOR),), VIEW, REBORN, True),
    ((allow(K + VIEW, DOOR),), VIEW, GATE, False),
    ((allow(K + VIEW, DOOR.upper().replace("ARN", "arn")),), VIEW, ARN, False),
    ((allow(K + VIEW, DOOR[:-2]),), VIEW, ARN, False),
    ((allow(K + VIEW, "arn:aws:kinesisvideo:*:*:channel/door/*"),), VIEW, FOREIGN, True),
    ((allow(K + VIEW, "arn:*:channel/door/*"),), VIEW, ABROAD, True),
    ((allow(K + VIEW, "*/1700000000000"),), VIEW, GATE, True),
    ((allow(K + VIEW, ARN[:-1] + "?"),), VIEW, REBORN, True),
    ((allow(K + LIST, "*"),), LIST, "*", True),
    ((allow(K + LIST, DOOR),), LIST, "*", False),
    ((allow(K + "CreateSignalingChannel", DOOR),), "CreateSignalingChannel", DOOR, True),
    # statements: any allows, a deny wins, rights do not cross
    ((allow(K + VIEW, ARN), allow(K + MASTER, GATE)), MASTER, GATE, True),
    ((allow(K + VIEW, ARN), allow(K + MASTER, GATE)), MASTER, ARN, False),
    ((ALL, deny(K + VIEW, ARN)), VIEW, ARN, False),
    ((deny(K + VIEW, ARN), ALL), VIEW, ARN, False),
    ((ALL, deny(K + VIEW, ARN)), VIEW, REBORN, True),
    ((ALL, deny(K + VIEW, ARN)), MASTER, ARN, True),
    ((ALL, deny("*", "*")), VIEW, ARN, False),
    ((ALL, deny("s3:*", "*")), VIEW, ARN, True),
    ((ALL, deny("kvs:Delete*", "*")), DELETE, ARN, False),
    # what cannot be evaluated: an allow is left out, a deny denies more
    ((allow("*", "*", Condition=IP),), VIEW, ARN, False),
    ((allow("*", "*", Condition=IP), allow(K + VIEW, "*")), VIEW, ARN, True),
    ((allow("*", "*", Condition={}),), VIEW, ARN, True),
    ((ALL, deny(K + VIEW, ARN, Condition=IP)), VIEW, ARN, False),
    ((ALL, deny(K + VIEW, ARN, Condition=IP)), MASTER, ARN, True),
    ((without(ALL, "Action", NotAction=K + DELETE),), VIEW, ARN, False),
    ((without(ALL, "Resource", NotResource=GATE),), VIEW, ARN, False),
    ((ALL, without(deny("*", ARN), "Action", NotAction=K + VIEW)), VIEW, ARN, False),
    ((ALL, without(deny("*", ARN), "Action", NotAction=K + VIEW)), MASTER, GATE, True),
    ((ALL, without(deny(K + VIEW, "*"), "Resource", NotResource=ARN)), VIEW, ARN, False),
    ((ALL, without(deny(K + VIEW, "*"), "Resource", NotResource=ARN)), MASTER, ARN, True),
    ((allow("*", "*", Principal=ROOT),), VIEW, ARN, False),
    ((allow("*", "*", Principal="*"),), VIEW, ARN, False),
    ((ALL, deny("*", ARN, Principal=ROOT)), VIEW, ARN, False),
    ((ALL, deny("*", ARN, NotPrincipal=ROOT)), VIEW, ARN, False),
    # policy variables
    ((allow("*", DOOR.replace("door", "${aws:username}")),), VIEW, ARN, False),
    ((allow("*", [DOOR.replace("door", "${aws:username}"), ARN]),), VIEW, ARN, True),
    ((ALL, deny("*", DOOR.replace("door", "${aws:username}"))), VIEW, ARN, False),
    ((ALL, deny("*", DOOR.replace("door", "${aws:username, 'a}b'}"))), VIEW, ARN, False),
    ((ALL, deny("*", DOOR.replace("door", "${aws:username"))), VIEW, ARN, False),
]


def decision(found: policy.Policy, action: str, resource: str) -> bool:
    return decide(Grant("s", ACCOUNT, found.statements, 0.0), action, resource).is_allowed


@pytest.mark.parametrize(("statements", "action", "resource", "is_allowed"), TABLE)
def test_decision(statements: tuple[dict[str, Any], ...], action: str, resource: str, is_allowed: bool) -> None:
    assert decision(policy.parse(document(*statements)), action, resource) is is_allowed


WARNED = [
    (allow("s3:*", "*", Sid="Files"), "Statement[0] (Files) is left out: it is about other services"),
    (allow(["s3:*", "logs:Put*"], "*"), "Statement[0] is left out: it is about other services"),
    (allow("*", "*", Condition=IP), "Statement[0] is left out: Condition cannot be evaluated here"),
    (
        without(ALL, "Action", NotAction="*", Principal="*"),
        "Statement[0] is left out: NotAction and Principal cannot be evaluated here",
    ),
    (
        deny("*", "*", Sid="Office", Condition=IP),
        "Statement[0] (Office) denies more than it says: Condition cannot be evaluated here",
    ),
    (
        deny("*", "arn:${x}"),
        "Statement[0].Resource denies more than it says: policy variables cannot be evaluated here",
    ),
    (allow("*", ["arn:${x}"]), "Statement[0].Resource[0] is left out: policy variables cannot be evaluated here"),
    (
        allow([K + "*", K + "ConectAsViewer"], "*"),
        "Statement[0].Action[1]: kinesisvideo:ConectAsViewer is no action; did you mean kinesisvideo:ConnectAsViewer?",
    ),
    (
        allow(K + "PutMedia", "*"),
        "Statement[0].Action: kinesisvideo:PutMedia is about streams, which this service does not have",
    ),
]


@pytest.mark.parametrize(("statement", "warning"), WARNED)
def test_what_is_not_taken_as_it_stands_is_told(statement: dict[str, Any], warning: str) -> None:
    assert policy.parse(document(statement)).warnings[0] == warning


def test_a_policy_that_allows_nothing_here_says_so() -> None:
    assert policy.parse(document()).warnings == ("no statement allows anything here",)
    assert policy.parse(document(allow("s3:*", "*"))).warnings[-1] == "no statement allows anything here"
    assert policy.parse(document(deny("*", "*"))).warnings[-1] == "no statement allows anything here"


def test_a_document_without_surprises_has_no_warnings() -> None:
    assert policy.parse(document(allow([K + "Connect*", "s3:*"], [DOOR, "*"]))).warnings == ()


def test_each_statement_has_a_name() -> None:
    found = policy.parse(document(allow("*", "*", Sid="First"), allow("s3:*", "*"), deny(K + VIEW, ARN), ALL))
    assert [statement.sid for statement in found.statements] == ["First", "Statement[2]", "Statement[3]"]


def test_patterns_are_kept_as_written_and_once() -> None:
    found = policy.parse(document(allow([K + "Get*", "kvs:Get*", "KINESISVIDEO:List*"], [ARN, ARN])))
    assert found.statements == (Statement((K + "Get*", K + "List*"), (ARN,), sid="Statement[0]"),)


@pytest.mark.parametrize("version", ["2012-10-17", "2008-10-17", None])
def test_both_versions_are_read_and_no_version_is_the_old_one(version: str | None) -> None:
    literal = "arn:${x}"
    found = policy.parse(document(allow(K + VIEW, [ARN, literal]), version=version, Id="any"))
    assert decision(found, VIEW, ARN)
    assert (literal in found.statements[0].resources) is (version != "2012-10-17")


def test_a_byte_order_mark_is_no_harm() -> None:
    assert decision(policy.parse(b"\xef\xbb\xbf" + document(ALL)), VIEW, ARN)


REFUSED: list[tuple[bytes, str]] = [
    (b"", "the policy is not JSON"),
    (b"{", "the policy is not JSON"),
    (b"\xff\xfe", "the policy is not JSON"),
    (b"[" * 50_000, "the policy is not JSON"),
    (b"[]", "the policy is no JSON object"),
    (b'"x"', "the policy is no JSON object"),
    (b"{}", "the policy has no Statement"),
    (b'{"PolicyVersion":{}}', "the policy has an element PolicyVersion, but there are only Version, Id, Statement"),
    (b'{"Statement":[],"Statement":[]}', "Statement is given twice"),
    (document(ALL, version="2020-01-01"), 'Version is "2020-01-01", not 2012-10-17 or 2008-10-17'),
    (b'{"Version":null,"Statement":[]}', "Version is null"),
    (document(7), r"Statement\[0\] is no JSON object"),
    (document(ALL, []), r"Statement\[1\] is no JSON object"),
    (
        document(ALL, allow("*", "*", Conditions=IP)),
        r"Statement\[1\] has an element Conditions, but there are only Sid",
    ),
    (document(without(ALL, "Effect")), r"Statement\[0\]\.Effect must be Allow or Deny"),
    (document(ALL | {"Effect": "allow"}), r"Statement\[0\]\.Effect must be Allow or Deny"),
    (document(ALL | {"Effect": ["Allow"]}), r"Statement\[0\]\.Effect must be Allow or Deny"),
    (document(without(ALL, "Action")), r"Statement\[0\] must have either Action or NotAction"),
    (document(allow("*", "*", NotAction="*")), r"Statement\[0\] must have either Action or NotAction"),
    (document(without(ALL, "Resource")), r"Statement\[0\] must have either Resource or NotResource"),
    (document(allow("*", "*", NotResource="*")), r"Statement\[0\] must have either Resource or NotResource"),
    (document(allow([], "*")), r"Statement\[0\]\.Action is empty"),
    (document(allow(7, "*")), r"Statement\[0\]\.Action is no text"),
    (document(allow(None, "*")), r"Statement\[0\]\.Action is no text"),
    (document(allow(["*", {}], "*")), r"Statement\[0\]\.Action\[1\] is no text"),
    (document(allow("", "*")), r"Statement\[0\]\.Action is no text"),
    (
        document(allow("ConnectAsViewr", "*")),
        r"Action ConnectAsViewr names no service: write kinesisvideo:ConnectAsViewer",
    ),
    (document(allow(K, "*")), r"Action kinesisvideo: names no service"),
    (document(allow(":x", "*")), r"Action :x names no service"),
    (document(allow("*", [ARN, "door"])), r"Statement\[0\]\.Resource\[1\] door is neither an ARN nor \*"),
    (document(allow("*", [])), r"Statement\[0\]\.Resource is empty"),
    (document(allow("*", {"a": "b"})), r"Statement\[0\]\.Resource is no text"),
    (document(without(ALL, "Action", NotAction=[7])), r"Statement\[0\]\.NotAction\[0\] is no text"),
    (document(allow("*", "*", Sid=7)), r"Statement\[0\]\.Sid is no text"),
    (document(allow("*", "*", Sid="s" * 129)), r"Statement\[0\]\.Sid is no text of at most 128"),
    (document(allow("*", "*", Sid="A"), deny("*", "*", Sid="A")), r"Statement\[1\]\.Sid A is the Sid of another"),
    (document(*[ALL] * 201), "the policy has 201 statements, over 200"),
    (document(ALL) + b" " * policy.SIZE_LIMIT, "bytes, over 65536"),
]


@pytest.mark.parametrize(("content", "sentence"), REFUSED)
def test_what_iam_would_refuse_is_refused_with_its_place(content: bytes, sentence: str) -> None:
    with pytest.raises(PolicyError, match=sentence):
        policy.parse(content)


def test_the_bounds_are_taken() -> None:
    assert len(policy.parse(document(*[ALL] * 200)).statements) == 200
    text = document(ALL)
    policy.parse(text + b" " * (policy.SIZE_LIMIT - len(text)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["*", "Allow", "Deny", ARN, K + VIEW, "s3:*", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Statement", "Effect", "Action", "Resource", "Condition", "Sid"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_policy_or_the_one_error(content: Any) -> None:
    try:
        policy.parse(json.dumps(content).encode())
    except PolicyError:
        return


@given(st.binary(max_size=100))
def test_any_bytes_are_a_policy_or_the_one_error(content: bytes) -> None:
    try:
        policy.parse(content)
    except PolicyError:
        return
