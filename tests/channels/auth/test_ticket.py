"""A ticket opens one connect, once, in time."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from channels.auth.grant import Grant
from channels.auth.ticket import Ticket, Tickets
from channels.errors import ClientLimitExceededException, UnrecognizedClientException
from channels.names import ChannelArn, Role

ARN = ChannelArn("aws", "us-west-2", "000000000000", "door", 1)
REBORN = ChannelArn("aws", "us-west-2", "000000000000", "door", 2)


def ticket(subject: str = "s", role: Role = Role.VIEWER, client_id: str = "v-1") -> Ticket:
    return Ticket(Grant(subject, "000000000000", (), 9e9), ARN, role, client_id)


def test_ticket_comes_back_once() -> None:
    tickets = Tickets()
    text = tickets.issue(ticket(), now=0.0)
    assert tickets.redeem(text, now=1.0) == ticket()
    with pytest.raises(UnrecognizedClientException):
        tickets.redeem(text, now=1.0)
    assert (tickets.stats.issued, tickets.stats.redeemed, tickets.stats.unknown) == (1, 1, 1)


def test_ticket_is_long_random_text_of_which_only_a_digest_is_kept() -> None:
    tickets = Tickets()
    texts = {tickets.issue(ticket(), now=0.0) for _ in range(100)}
    assert len(texts) == 100
    assert {len(text) for text in texts} == {43}
    assert not any(text in repr(vars(tickets)) for text in texts)


@pytest.mark.parametrize(("now", "is_good"), [(0.0, True), (29.9, True), (30.0, False), (1e6, False)])
def test_ticket_lives_thirty_seconds(now: float, is_good: bool) -> None:
    tickets = Tickets()
    text = tickets.issue(ticket(), now=0.0)
    if is_good:
        assert tickets.redeem(text, now) == ticket()
    else:
        with pytest.raises(UnrecognizedClientException, match="expired"):
            tickets.redeem(text, now)
        assert tickets.stats.expired == 1
    assert len(tickets) == 0


@pytest.mark.parametrize("text", ["", "x", "x" * 129, "x" * 10_000_000, "é", "\ud800"], ids=lambda text: f"{len(text)}")
def test_other_text_is_refused(text: str) -> None:
    tickets = Tickets()
    tickets.issue(ticket(), now=0.0)
    with pytest.raises(UnrecognizedClientException):
        tickets.redeem(text, now=0.0)
    assert len(tickets) == 1


def test_one_of_many_threads_gets_the_ticket() -> None:
    tickets = Tickets()
    text = tickets.issue(ticket(), now=0.0)

    def redeem(_: int) -> bool:
        try:
            return tickets.redeem(text, now=1.0) is not None
        except UnrecognizedClientException:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(redeem, range(20))) == 1


@pytest.mark.parametrize(
    ("arn", "role", "client_id", "fits"),
    [
        (ARN, Role.VIEWER, "v-1", True),
        (ARN, Role.VIEWER, "v-2", False),
        (ARN, Role.VIEWER, "V-1", False),
        (ARN, Role.VIEWER, "", False),
        (ARN, Role.MASTER, "v-1", False),
        (REBORN, Role.VIEWER, "v-1", False),
    ],
)
def test_viewer_ticket_is_for_one_channel_role_and_client_id(
    arn: ChannelArn, role: Role, client_id: str, fits: bool
) -> None:
    assert ticket().is_for(arn, role, client_id) is fits


def test_master_ticket_is_for_one_channel_whatever_client_id_is_sent() -> None:
    made = ticket(role=Role.MASTER, client_id="")
    assert made.is_for(ARN, Role.MASTER, "ProducerMaster")
    assert not made.is_for(REBORN, Role.MASTER, "")
    assert not made.is_for(ARN, Role.VIEWER, "")


def test_full_table_refuses_new_tickets_keeps_old_ones_and_says_when() -> None:
    tickets = Tickets(limit=2)
    first = tickets.issue(ticket("a"), now=0.0)
    tickets.issue(ticket("b"), now=5.0)
    with pytest.raises(ClientLimitExceededException) as refused:
        tickets.issue(ticket("c"), now=10.0)
    assert refused.value.limit is not None
    assert (refused.value.limit.name, refused.value.limit.value) == ("tickets", 2)
    assert refused.value.limit.retry_after_s == 20.0
    assert tickets.stats.refused == 1
    assert tickets.redeem(first, now=10.0)
    assert tickets.issue(ticket("c"), now=10.0)


def test_expired_tickets_make_room() -> None:
    tickets = Tickets(limit=2)
    for _ in range(50):
        tickets.issue(ticket(), now=0.0) if len(tickets) < 2 else None
    assert tickets.issue(ticket(), now=30.0)
    assert len(tickets) == 1
    assert tickets.stats.expired == 2


def test_sessions_made_from_one_token_are_one_subject() -> None:
    def of_session(number: int) -> Ticket:
        ids = (f"ASIA{number}", "token")
        return Ticket(
            Grant(f"s/{number}", "000000000000", (), 9e9, session_key_id="k", credential_ids=ids),
            ARN,
            Role.VIEWER,
            "v-1",
        )

    tickets = Tickets(limit=10, subject_limit=2)
    held = [tickets.issue(of_session(number), now=0.0) for number in range(2)]
    with pytest.raises(ClientLimitExceededException, match="tickets_per_subject"):
        tickets.issue(of_session(2), now=0.0)
    tickets.redeem(held[0], now=0.0)
    assert tickets.issue(of_session(2), now=0.0)


def test_one_subject_cannot_take_all_tickets() -> None:
    tickets = Tickets(limit=10, subject_limit=2)
    held = [tickets.issue(ticket("greedy"), now=0.0) for _ in range(2)]
    with pytest.raises(ClientLimitExceededException) as refused:
        tickets.issue(ticket("greedy"), now=0.0)
    assert refused.value.limit is not None
    assert refused.value.limit.name == "tickets_per_subject"
    assert tickets.issue(ticket("other"), now=0.0)
    tickets.redeem(held[0], now=0.0)
    assert tickets.issue(ticket("greedy"), now=0.0)
