"""What a sender is told when its message failed, and the word by which that is counted. No I/O."""

from channels.errors import ClientLimitExceededException, Limit, ServiceError, ServiceUnavailableException
from channels.signaling.mailbox import Mail


def result_of(refusal: ServiceError) -> str:
    """The word for a mailbox's refusal."""
    if isinstance(refusal, ClientLimitExceededException):
        return "full"
    return "unreachable" if isinstance(refusal, ServiceUnavailableException) else "absent"


def full(name: str, value: int) -> ServiceError:
    """Too much is on its way; `name` is the limit."""
    limit = Limit(name, value, 1.0)
    return ClientLimitExceededException(f"{name} is {value} and that many are on their way; try again in 1 s", limit)


def unreachable() -> ServiceError:
    """The recipient was found in no place that took the message."""
    return ServiceUnavailableException("the recipient moves between nodes: send the message again")


def doubtful() -> ServiceError:
    """The other node was told and does not answer."""
    return ServiceUnavailableException("the recipient's node does not answer; it may have got the message or not")


def away() -> ServiceError:
    """Presence or mailbox do not answer."""
    return ServiceUnavailableException("nobody knows now where the recipient is: send the message again")


def slow() -> ServiceError:
    """The recipient's queue is full."""
    return ServiceUnavailableException("the recipient does not read what it is sent and was closed: send it again")


def expired(mail: Mail) -> ServiceError:
    """The time to live of a held message is over."""
    who = mail.recipient.client_id or "the master"
    return ServiceUnavailableException(f"{who} did not come within the {mail.ttl_s:g} s that the message was held")


def forgotten() -> ServiceError:
    """The time of a held message is over, and the mailbox lost it or does not answer, or who took it has not yet."""
    return ServiceUnavailableException("the message was held, and nobody knows now whether the recipient came for it")
