"""Exit codes of every command, and the one error that carries them to the shell."""

import enum
import re
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
    ENCODER = 21
    PART_ENDED = 30


MEANING = {
    Exit.OK: "done, or ended by SIGINT or SIGTERM",
    Exit.FAILURE: "failed",
    Exit.USAGE: "wrong use or wrong setting, a taken port among them",
    Exit.UNREACHABLE: "the endpoint does not answer",
    Exit.REFUSED: "refused: credential, permission or limit",
    Exit.NOT_FOUND: "no such channel or access key",
    Exit.NO_CHANNEL: "viewer: no such channel",
    Exit.VIEWER_REFUSED: "viewer: refused",
    Exit.NO_MASTER: "viewer: no master is connected",
    Exit.NO_ANSWER: "viewer: no answer in time",
    Exit.ICE_FAILED: "viewer: no ICE path works",
    Exit.NO_FRAME: "viewer: connected, but no frame arrived",
    Exit.REPLACED: "master: replaced by a newer one",
    Exit.ENCODER: "master: the encoder of --encoder does not work here",
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
    errors.IncompleteSignatureException,
    errors.ExpiredTokenException,
    errors.InvalidClientException,
    errors.ClientLimitExceededException,
    errors.AccountChannelLimitExceededException,
    errors.TagsPerResourceExceededLimitException,
)

_FOREIGN_TOKEN = "sign it with the keys of the service's --data-dir: `heliograph token --data-dir FOLDER`"  # noqa: S105
_NO_CREDENTIAL = (
    "give a token with --token or HELIOGRAPH_TOKEN (`heliograph token` makes one), or an access key with "
    "--access-key-id and HELIOGRAPH_SECRET_ACCESS_KEY"
)
_WRONG_KEY = "check --access-key-id, HELIOGRAPH_SECRET_ACCESS_KEY and, of a session, HELIOGRAPH_SESSION_TOKEN"
_REVOKED = "take another one: `heliograph token` or `heliograph key create` makes it"
_NEXT_STEP = {
    "MissingAuthenticationTokenException": _NO_CREDENTIAL,
    "UnrecognizedClientException": _FOREIGN_TOKEN,
    "InvalidSignatureException": _WRONG_KEY,
    "IncompleteSignatureException": _WRONG_KEY,
    "ExpiredTokenException": "`heliograph token`, or `heliograph key session`, makes one, with --ttl for how long",
    "UnknownOperationException": "--endpoint or HELIOGRAPH_ENDPOINT has a path too much: http://HOST:PORT is enough",
}
# What a sentence of the service speaks of, where its code does not tell enough.
_STEP_BY_WORDS = {
    "Signature expired": "set the clock of this machine",
    "Signature not yet current": "set the clock of this machine",
    "scoped to a valid region": "--region or HELIOGRAPH_REGION sets it",
    "access key": _WRONG_KEY,
    "made from, was revoked": _REVOKED,
}
_ACTION = re.compile(r"\bkinesisvideo:(\w+)")
_CHANNEL = re.compile(r" on arn:[^ ]+:channel/([\w.-]+)/")
_ROLE_OF = {"ConnectAsMaster": "master", "ConnectAsViewer": "viewer", "GetRecording": "recording"}
_EVERY_ROLE = ("DescribeSignalingChannel", "GetSignalingChannelEndpoint", "GetIceServerConfig")


class CommandError(Exception):
    """A command failed for a reason its user can act on: one sentence, one exit code."""

    def __init__(self, message: str, code: Exit = Exit.FAILURE) -> None:
        super().__init__(message)
        self.code = code


def refusal(error: errors.ServiceError) -> CommandError:
    """Return what the shell is told about an answer of the service."""
    if isinstance(error, errors.ResourceNotFoundException):
        code = Exit.NOT_FOUND
    elif isinstance(error, errors.UnknownOperationException):
        code = Exit.UNREACHABLE
    elif isinstance(error, _REFUSALS):
        code = Exit.REFUSED
    elif isinstance(error, errors.InvalidArgumentException):
        code = Exit.USAGE
    else:
        code = Exit.FAILURE
    return CommandError(refusal_words(error.code, error.message, error.limit), code)


def refusal_words(code: str, message: str, limit: errors.Limit | None = None) -> str:
    """Return what the service said, its limit, its code, and what to do next on the command line."""
    words = f" (limit {limit.name} = {limit.value:g})" if limit and limit.name not in message else ""
    return f"{message}{words} [{code}]{next_step(code, message)}"


def next_step(code: str, message: str) -> str:
    """Return what to do about an error code of the service, as the end of a sentence; empty where nothing helps."""
    by_words = (step for words, step in _STEP_BY_WORDS.items() if words in message)
    step = next(by_words, _NEXT_STEP[code]) if code in _NEXT_STEP else ""
    if code in ("AccessDeniedException", "NotAuthorizedException"):
        step = _right_step(message)
    return f"; {step}" if step else ""


def _right_step(message: str) -> str:
    if "(cid)" in message:
        return "give that id with --client-id, or take a token without one"
    if message.startswith("key/"):
        return "the policy of the access key must allow it"
    action = _ACTION.search(message)
    if action is None:
        return "`heliograph token --role admin|master|viewer` makes a token with other rights"
    role, name = _ROLE_OF.get(action[1], "admin"), _CHANNEL.search(message)
    if action[1] in _EVERY_ROLE and name is not None:  # a token that cannot even look at the channel is of another one
        return f"take a token for this channel: `heliograph token --role master|viewer --channel {name[1]}`"
    channel = f" --channel {name[1]}" if role != "admin" and name is not None else ""
    return f"to {action[1]} take a token of `heliograph token --role {role}{channel}`"


def unreachable(error: BaseException) -> CommandError:
    """Return what the shell is told about an endpoint that does not answer as the service does."""
    where = "" if " is not trusted (" in str(error) else "; --endpoint or HELIOGRAPH_ENDPOINT sets it"
    return CommandError(f"{error}{where}", Exit.UNREACHABLE)


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
