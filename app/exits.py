"""Exit codes of every command, and the one error that carries them to the shell."""

import enum
from collections.abc import Iterator

from channels import errors


class Exit(enum.IntEnum):
    """Exit codes; the texts stand in the help of every command."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    NOT_FOUND = 5
    NO_CHANNEL = 10
    VIEWER_REFUSED = 11
    NO_MASTER = 12
    NO_ANSWER = 13
    ICE_FAILED = 14
    NO_FRAME = 15
    REPLACED = 20
    PART_ENDED = 30


MEANING = {
    Exit.OK: "done, or ended by SIGINT or SIGTERM",
    Exit.FAILURE: "failed",
    Exit.USAGE: "wrong use or wrong setting, a taken port among them",
    Exit.UNREACHABLE: "the endpoint does not answer",
    Exit.REFUSED: "the endpoint refused: credential, permission or limit",
    Exit.NOT_FOUND: "no such channel",
    Exit.NO_CHANNEL: "viewer: no such channel",
    Exit.VIEWER_REFUSED: "viewer: refused",
    Exit.NO_MASTER: "viewer: no master is connected",
    Exit.NO_ANSWER: "viewer: no answer in time",
    Exit.ICE_FAILED: "viewer: no ICE path works",
    Exit.NO_FRAME: "viewer: connected, but no frame arrived",
    Exit.REPLACED: "master: replaced by a newer one",
    Exit.PART_ENDED: "a part of the service ended by itself",
}

VIEWER_STEP = {
    "no-channel": Exit.NO_CHANNEL,
    "refused": Exit.VIEWER_REFUSED,
    "no-master": Exit.NO_MASTER,
    "no-answer": Exit.NO_ANSWER,
    "ice-failed": Exit.ICE_FAILED,
    "no-frame": Exit.NO_FRAME,
    "unreachable": Exit.UNREACHABLE,
}

_REFUSALS = (
    errors.AccessDeniedException,
    errors.NotAuthorizedException,
    errors.MissingAuthenticationTokenException,
    errors.UnrecognizedClientException,
    errors.InvalidSignatureException,
    errors.ExpiredTokenException,
    errors.InvalidClientException,
    errors.ClientLimitExceededException,
    errors.AccountChannelLimitExceededException,
    errors.TagsPerResourceExceededLimitException,
)


class CommandError(Exception):
    """A command failed for a reason its user can act on: one sentence, one exit code."""

    def __init__(self, message: str, code: Exit = Exit.FAILURE) -> None:
        super().__init__(message)
        self.code = code


def refusal(error: errors.ServiceError) -> CommandError:
    """Return what the shell is told about an answer of the service."""
    if isinstance(error, errors.ResourceNotFoundException):
        code = Exit.NOT_FOUND
    elif isinstance(error, _REFUSALS):
        code = Exit.REFUSED
    elif isinstance(error, errors.InvalidArgumentException):
        code = Exit.USAGE
    else:
        code = Exit.FAILURE
    limit = error.limit
    words = f" (limit {limit.name} = {limit.value:g})" if limit else ""
    return CommandError(f"{error.message}{words} [{error.code}]", code)


def cause(error: BaseException) -> BaseException:
    """Return what a task group failed of: the first CommandError inside, else the first error of all."""
    leaves = list(_leaves(error))
    return next((leaf for leaf in leaves if isinstance(leaf, CommandError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
