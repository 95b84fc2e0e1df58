"""Truth table of decide(): what IAM would say."""

import fnmatch
import itertools
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.auth.grant import Decision, Grant, Statement, decide, uncovered

ACCOUNT = "000000000000"
ARN = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/door/1700000000000"
REBORN = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/door/1700000000001"
OTHER = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/gate/1700000000000"
UPPER = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/Door/1700000000000"
ABROAD = f"arn:aws:kinesisvideo:eu-west-1:{ACCOUNT}:channel/door/1700000000000"
FOREIGN = "arn:aws:kinesisvideo:us-west-2:111111111111:channel/door/1700000000000"
BY_NAME = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/door/*"
NAMED = BY_NAME  # what is asked for when a channel is named, not its ARN
ALL_CHANNELS = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/*"


def allow(actions: str, *resources: str) -> Statement:
    return Statement(tuple(actions.split()), resources, sid=f"allow {actions}")


def deny(actions: str, *resources: str) -> Statement:
    return Statement(tuple(actions.split()), resources, is_allowed=False, sid=f"deny {actions}")


def grant(*statements: Statement) -> Grant:
    return Grant("sub", ACCOUNT, statements, expires_at=0.0)


K = "kinesisvideo:"
VIEW, MASTER, LIST, DESCRIBE = "ConnectAsViewer", "ConnectAsMaster", "ListSignalingChannels", "DescribeSignalingChannel"

# statements, action, resource, allowed?
TABLE: list[tuple[tuple[Statement, ...], str, str, bool]] = [
    # nothing said: denied
    ((), VIEW, ARN, False),
    ((), LIST, "*", False),
    ((Statement((), (ARN,)),), VIEW, ARN, False),
    ((Statement((K + VIEW,), ()),), VIEW, ARN, False),
    # an exact action on an exact ARN
    ((allow(K + VIEW, ARN),), VIEW, ARN, True),
    ((allow(K + VIEW, ARN),), MASTER, ARN, False),
    ((allow(K + VIEW, ARN),), VIEW, REBORN, False),
    ((allow(K + VIEW, ARN),), VIEW, OTHER, False),
    ((allow(K + VIEW, ARN),), VIEW, ABROAD, False),
    ((allow(K + VIEW, ARN),), VIEW, FOREIGN, False),
    ((allow(K + VIEW, ARN),), VIEW, "*", False),
    # resources are case-sensitive, actions are not
    ((allow(K + VIEW, ARN),), VIEW, UPPER, False),
    ((allow(K + VIEW, UPPER),), VIEW, ARN, False),
    ((allow(K + "connectasviewer", ARN),), VIEW, ARN, True),
    ((allow("KINESISVIDEO:CONNECTASVIEWER", ARN),), VIEW, ARN, True),
    ((allow(K + VIEW, ARN),), "connectAsViewer", ARN, True),
    # the service prefix is part of an action
    ((allow(VIEW, ARN),), VIEW, ARN, False),
    ((allow("kvs:" + VIEW, ARN),), VIEW, ARN, False),  # token scopes are translated before
    ((allow("s3:" + VIEW, ARN),), VIEW, ARN, False),
    # a star in actions
    ((allow("*", ARN),), VIEW, ARN, True),
    ((allow(K + "*", ARN),), MASTER, ARN, True),
    ((allow(K + "Connect*", ARN),), VIEW, ARN, True),
    ((allow(K + "Connect*", ARN),), MASTER, ARN, True),
    ((allow(K + "Connect*", ARN),), DESCRIBE, ARN, False),
    ((allow(K + "*Viewer", ARN),), VIEW, ARN, True),
    ((allow(K + "*Viewer", ARN),), MASTER, ARN, False),
    ((allow(K + "ConnectAs*", ARN),), "ConnectAs", ARN, True),  # a star may be nothing
    # a question mark is one character
    ((allow(K + "ConnectAs??????", ARN),), VIEW, ARN, True),
    ((allow(K + "ConnectAs?????", ARN),), VIEW, ARN, False),
    ((allow(K + VIEW, ARN[:-1] + "?"),), VIEW, ARN, True),
    ((allow(K + VIEW, ARN[:-1] + "?"),), VIEW, REBORN, True),
    ((allow(K + VIEW, ARN + "?"),), VIEW, ARN, False),
    # patterns of resources
    ((allow(K + VIEW, "*"),), VIEW, ARN, True),
    ((allow(K + LIST, "*"),), LIST, "*", True),
    ((allow(K + LIST, ALL_CHANNELS),), LIST, "*", False),
    ((allow(K + VIEW, BY_NAME),), VIEW, ARN, True),
    ((allow(K + VIEW, BY_NAME),), VIEW, REBORN, True),
    ((allow(K + VIEW, BY_NAME),), VIEW, OTHER, False),
    ((allow(K + VIEW, BY_NAME),), VIEW, UPPER, False),
    ((allow(K + VIEW, ALL_CHANNELS),), VIEW, OTHER, True),
    ((allow(K + VIEW, ALL_CHANNELS),), VIEW, ABROAD, False),
    ((allow(K + VIEW, "arn:*:channel/door/*"),), VIEW, FOREIGN, True),  # a star crosses : and /
    ((allow(K + VIEW, "arn:aws:kinesisvideo:*:channel/door/*"),), VIEW, ABROAD, True),
    ((allow(K + VIEW, "*/1700000000000"),), VIEW, OTHER, True),
    ((allow(K + VIEW, "*/1700000000000"),), VIEW, REBORN, False),
    ((allow(K + VIEW, BY_NAME[:-2]),), VIEW, ARN, False),  # the whole ARN must match, not a part
    ((allow(K + VIEW, "channel/door/*"),), VIEW, ARN, False),
    # the pattern of a name as the resource: Create and Describe by name
    ((allow(K + "CreateSignalingChannel", BY_NAME),), "CreateSignalingChannel", NAMED, True),
    ((allow(K + "CreateSignalingChannel", ARN),), "CreateSignalingChannel", NAMED, False),
    # what is wild to regular expressions is plain here
    ((allow(K + VIEW, ARN.replace("door", "do.r")),), VIEW, ARN, False),
    ((allow(K + VIEW, ARN.replace("door", "[d]oor")),), VIEW, ARN, False),
    ((allow(K + "Connect(As)Viewer", ARN),), VIEW, ARN, False),
    ((allow(K + ".*", ARN),), VIEW, ARN, False),
    ((allow(K + VIEW, "*"),), VIEW, "two\nlines", True),
    # several actions and resources in a statement: each on each
    ((allow(f"{K}{VIEW} {K}{DESCRIBE}", ARN, OTHER),), DESCRIBE, OTHER, True),
    ((allow(f"{K}{VIEW} {K}{DESCRIBE}", ARN, OTHER),), MASTER, OTHER, False),
    # several statements: any may allow, but rights never cross from one to another
    ((allow(K + VIEW, ARN), allow(K + MASTER, OTHER)), MASTER, OTHER, True),
    ((allow(K + VIEW, ARN), allow(K + MASTER, OTHER)), VIEW, OTHER, False),
    ((allow(K + VIEW, ARN), allow(K + MASTER, OTHER)), MASTER, ARN, False),
    # an explicit deny wins, wherever it stands
    ((allow("*", "*"), deny(K + VIEW, ARN)), VIEW, ARN, False),
    ((deny(K + VIEW, ARN), allow("*", "*")), VIEW, ARN, False),
    ((allow(K + VIEW, ARN), deny("*", "*")), VIEW, ARN, False),
    ((allow("*", "*"), deny(K + VIEW, ARN)), MASTER, ARN, True),
    ((allow("*", "*"), deny(K + VIEW, ARN)), VIEW, REBORN, True),
    ((allow("*", "*"), deny(K + "*", BY_NAME)), DESCRIBE, REBORN, False),
    ((deny(K + VIEW, ARN),), MASTER, ARN, False),  # a deny of one thing allows no other
]


@pytest.mark.parametrize(("statements", "action", "resource", "is_allowed"), TABLE)
def test_decision(statements: tuple[Statement, ...], action: str, resource: str, is_allowed: bool) -> None:
    assert decide(grant(*statements), action, resource).is_allowed is is_allowed


def test_allowing_statement_is_named() -> None:
    statements = (allow(K + MASTER, ARN), allow(K + VIEW, ARN), allow("*", "*"))
    assert decide(grant(*statements), VIEW, ARN) == Decision(True, "allowed", "allow kinesisvideo:ConnectAsViewer")


def test_denying_statement_is_named() -> None:
    decision = decide(grant(allow("*", "*"), deny("*", OTHER)), VIEW, OTHER)
    assert decision == Decision(False, f"a deny statement covers kinesisvideo:ConnectAsViewer on {OTHER}", "deny *")


def test_default_denial_says_who_wanted_what() -> None:
    decision = decide(grant(), VIEW, ARN)
    assert decision.reason == f"sub may not kinesisvideo:ConnectAsViewer on {ARN}: no statement allows it"
    assert decision.sid == ""


# patterns of an allow statement, patterns asked about, covered whatever those stand for?
CONTAINED: list[tuple[tuple[str, str], tuple[str, str], bool]] = [
    ((K + VIEW, ARN), (K + VIEW, ARN), True),
    ((K + VIEW, ARN), (K + VIEW.upper(), ARN), True),
    ((K + VIEW, ARN), (K + VIEW, UPPER), False),
    ((K + VIEW, ARN), (K + MASTER, ARN), False),
    ((K + VIEW, ARN), (K + "*", ARN), False),
    ((K + VIEW, ARN), (K + VIEW, "*"), False),
    ((K + VIEW, ARN), (K + VIEW, BY_NAME), False),
    ((K + "*", "*"), (K + "*", "*"), True),
    ((K + "*", "*"), (K + "Get?ce*", BY_NAME), True),
    ((K + "*", BY_NAME), (K + VIEW, BY_NAME), True),
    ((K + "*", BY_NAME), (K + VIEW, ARN), True),
    ((K + "*", BY_NAME), (K + VIEW, ALL_CHANNELS), False),
    ((K + "*", ALL_CHANNELS), (K + VIEW, BY_NAME), True),
    ((K + "Connect*", "*"), (K + "Connect*", "*"), True),
    ((K + "Connect*", "*"), (K + "ConnectAs*", "*"), True),
    ((K + "Connect*", "*"), (K + "Con*", "*"), False),
    ((K + "*Viewer", "*"), (K + "*AsViewer", "*"), True),
    ((K + "*", "a?c"), (K + VIEW, "abc"), True),
    ((K + "*", "a?c"), (K + VIEW, "a?c"), True),
    ((K + "*", "a?c"), (K + VIEW, "a*c"), False),
    ((K + "*", "abc"), (K + VIEW, "a?c"), False),
    ((K + "*", "a*c"), (K + VIEW, "a?c"), True),
    ((K + "*", "a*c"), (K + VIEW, "a**c"), True),
    ((K + "*", "a*?c"), (K + VIEW, "a*c"), False),
    ((K + "*", "a.c"), (K + VIEW, "abc"), False),
]


@pytest.mark.parametrize(("own", "asked", "is_covered"), CONTAINED)
def test_patterns_are_covered_only_where_all_they_stand_for_is(
    own: tuple[str, str], asked: tuple[str, str], is_covered: bool
) -> None:
    statement = Statement((own[0],), (own[1],))
    action, resource = asked
    assert uncovered((statement,), (action,), (resource,)) == (None if is_covered else asked)
    denying = msgspec.structs.replace(statement, is_allowed=False)
    assert uncovered((denying,), (action,), (resource,)) == asked


@given(
    st.text("ab*?", max_size=6),
    st.text("ab*?", max_size=6),
    st.lists(st.text("ab", max_size=2), min_size=6, max_size=6),
)
def test_what_a_covered_pattern_covers_is_covered(outer: str, inner: str, filling: list[str]) -> None:
    fill = iter(filling)
    instance = "".join(next(fill) if c == "*" else (next(fill) + "a")[0] if c == "?" else c for c in inner)
    if uncovered((Statement((K + "X",), (outer,)),), (K + "X",), (inner,)) is None:
        assert decide(grant(allow(K + "X", outer)), "X", instance).is_allowed


def test_one_statement_must_cover_both_the_action_and_the_resource() -> None:
    statements = (allow(K + VIEW, ARN), allow(f"{K}{MASTER} {K}{LIST}", OTHER))
    assert uncovered(statements, (K + VIEW,), (ARN,)) is None
    assert uncovered(statements, (K + LIST, K + MASTER), (OTHER,)) is None
    assert uncovered(statements, (K + VIEW, K + MASTER), (ARN,)) == (K + MASTER, ARN)
    assert uncovered(statements, (K + MASTER,), (OTHER, ARN)) == (K + MASTER, ARN)


# what a grant is made of beside its subject "sub", and its root
ROOTS: list[tuple[dict[str, object], str]] = [
    ({}, "sub"),
    ({"token_id": "t", "credential_ids": ("t",)}, "sub"),
    ({"key_id": "AKIA1", "credential_ids": ("AKIA1",)}, "sub"),
    ({"session_key_id": "k", "token_id": "ASIA1", "credential_ids": ("ASIA1", "t")}, "t"),
    ({"session_key_id": "k", "token_id": "ASIA2", "credential_ids": ("ASIA2", "ASIA1", "t")}, "t"),
    ({"session_key_id": "k", "key_id": "AKIA1", "credential_ids": ("ASIA1", "AKIA1")}, "ASIA1"),
    ({"session_key_id": "k", "key_id": "AKIA1", "credential_ids": ("ASIA2", "ASIA1", "AKIA1")}, "ASIA1"),
]


@pytest.mark.parametrize(("made_of", "root"), ROOTS)
def test_sessions_that_are_made_from_each_other_have_one_root(made_of: dict[str, object], root: str) -> None:
    assert msgspec.structs.replace(grant(), **made_of).root == root


# a session's own statements, those of the key it came from, and what it may do of VIEW and MASTER on ARN
BOUNDED: list[tuple[tuple[Statement, ...], tuple[Statement, ...], set[str]]] = [
    ((allow("*", "*"),), (), set()),
    ((), (allow("*", "*"),), set()),
    ((allow("*", "*"),), (allow("*", "*"),), {VIEW, MASTER}),
    ((allow("*", "*"),), (allow(K + VIEW, ARN),), {VIEW}),
    ((allow(K + VIEW, ARN),), (allow("*", "*"),), {VIEW}),
    ((allow(K + VIEW, ARN),), (allow(K + MASTER, ARN),), set()),
    ((allow("*", "*"),), (allow("*", OTHER),), set()),
    ((allow("*", "*"),), (allow("*", "*"), deny(K + VIEW, ARN)), {MASTER}),
    ((allow("*", "*"), deny(K + MASTER, "*")), (allow("*", "*"), deny(K + VIEW, ARN)), set()),
    ((deny("*", "*"),), (allow("*", "*"),), set()),
]


@pytest.mark.parametrize(("own", "bound", "allowed"), BOUNDED)
def test_a_boundary_must_allow_as_well(
    own: tuple[Statement, ...], bound: tuple[Statement, ...], allowed: set[str]
) -> None:
    bounded = msgspec.structs.replace(grant(*own), boundary=bound, key_id="AKIA1")
    assert {action for action in (VIEW, MASTER) if decide(bounded, action, ARN).is_allowed} == allowed


def test_a_denial_by_the_boundary_names_the_key_and_the_statement() -> None:
    bounded = msgspec.structs.replace(grant(allow("*", "*")), boundary=(deny("*", OTHER),), key_id="AKIA1")
    assert decide(bounded, VIEW, ARN).reason.endswith("no statement of access key AKIA1 allows it")
    assert decide(bounded, VIEW, OTHER) == Decision(
        False, f"a deny statement of access key AKIA1 covers kinesisvideo:ConnectAsViewer on {OTHER}", "deny *"
    )


@pytest.mark.parametrize("pattern", ["*a" * 20 + "b", "*" * 500 + "b", "*?" * 100 + "b", "*a*" * 60])
def test_a_pattern_of_many_stars_costs_no_time(pattern: str) -> None:
    grant = Grant("alice", "0" * 12, (Statement(("kinesisvideo:*",), (pattern,)),), 0.0)
    started = time.thread_time()
    decide(grant, "ConnectAsMaster", "a" * 1000)
    assert time.thread_time() - started < 0.5


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_a_pattern_covers_what_its_stars_can_stand_for(pattern: str, text: str) -> None:
    grant = Grant("alice", "0" * 12, (Statement(("kinesisvideo:X",), (pattern,)),), 0.0)
    assert decide(grant, "X", text).is_allowed == fnmatch.fnmatchcase(text, pattern)


def test_a_pattern_of_a_resource_covers_all_that_and_nothing_else() -> None:
    """Every short pattern with every short text, for the parts between two stars must not overlap."""
    patterns = ["".join(letters) for size in range(5) for letters in itertools.product("ab*", repeat=size)]
    texts = ["".join(letters) for size in range(5) for letters in itertools.product("ab", repeat=size)]
    for pattern in patterns:
        grant = Grant("alice", ACCOUNT, (Statement(("kinesisvideo:X",), (pattern,)),), 0.0)
        covered = [text for text in texts if decide(grant, "X", text).is_allowed]
        assert covered == [text for text in texts if fnmatch.fnmatchcase(text, pattern)], pattern
