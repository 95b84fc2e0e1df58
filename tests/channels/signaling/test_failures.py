from channels.errors import ClientLimitExceededException, ResourceNotFoundException, ServiceError
from channels.names import Role
from channels.signaling import failures
from channels.signaling.mailbox import Mail
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address


def test_each_refusal_has_its_word() -> None:
    refusals: list[tuple[ServiceError, str]] = [
        (failures.full("held", 3), "full"),
        (failures.away(), "unreachable"),
        (ResourceNotFoundException("no viewer v1 is connected"), "absent"),
    ]
    assert [failures.result_of(error) for error, _ in refusals] == [word for _, word in refusals]


def test_a_full_queue_names_its_limit_and_when_to_try_again() -> None:
    error = failures.full("held", 3)
    assert isinstance(error, ClientLimitExceededException)
    assert (error.message, error.limit and error.limit.retry_after_s) == (
        "held is 3 and that many are on their way; try again in 1 s",
        1.0,
    )


def test_who_did_not_come_is_named() -> None:
    viewer = Address(Role.VIEWER, "v1")
    mail = Mail("1", "arn", viewer, MASTER, Action.SDP_ANSWER, b"", "c", 60.0, "a", "a-1")
    assert "v1 did not come within the 60 s" in failures.expired(mail).message
    assert failures.doubtful().status == failures.unreachable().status == failures.slow().status == 503
