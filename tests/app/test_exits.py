import pytest

from app.exits import MEANING, VIEWER_STEP, CommandError, Exit, cause, refusal, unreachable
from channels import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ResourceNotFoundException("no"), Exit.NOT_FOUND),
        (errors.AccessDeniedException("no"), Exit.REFUSED),
        (errors.ExpiredTokenException("no"), Exit.REFUSED),
        (errors.ClientLimitExceededException("no"), Exit.REFUSED),
        (errors.InvalidArgumentException("no"), Exit.USAGE),
        (errors.ResourceInUseException("no"), Exit.FAILURE),
        (errors.InternalFailureException("no"), Exit.FAILURE),
    ],
)
def test_an_answer_of_the_service_has_its_exit_code(error: errors.ServiceError, code: Exit) -> None:
    assert refusal(error).code is code


def test_a_refusal_names_code_and_limit() -> None:
    limit = errors.Limit("viewers_per_channel", 10)
    told = str(refusal(errors.ClientLimitExceededException("the channel is full", limit)))
    assert told == "the channel is full (limit viewers_per_channel = 10) [ClientLimitExceededException]"
    told = str(refusal(errors.ClientLimitExceededException("10, the limit viewers_per_channel", limit)))
    assert told == "10, the limit viewers_per_channel [ClientLimitExceededException]"


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (errors.MissingAuthenticationTokenException("no credential"), "give a token with --token or HELIOGRAPH_TOKEN"),
        (errors.UnrecognizedClientException("another key signed it"), "the keys of the service's --data-dir"),
        (errors.ExpiredTokenException("the token has expired"), "or `heliograph key session`, makes one"),
        (errors.InvalidSignatureException("the signature does not match"), "HELIOGRAPH_SECRET_ACCESS_KEY"),
        (errors.InvalidSignatureException("Signature expired: a is earlier than b"), "the clock of this machine"),
        (errors.InvalidSignatureException("Signature not yet current: a is later"), "the clock of this machine"),
        (errors.InvalidSignatureException("Credential should be scoped to a valid region: one of x."), "--region"),
        (errors.UnrecognizedClientException("the access key id A is not known here"), "check --access-key-id"),
        (
            errors.UnrecognizedClientException("the credential, or one that it was made from, was revoked"),
            "take another",
        ),
        (errors.AccessDeniedException("key/AKIA may not kinesisvideo:ConnectAsMaster on x"), "the policy of the"),
        (errors.AccessDeniedException("may not kinesisvideo:ConnectAsMaster on x"), "token --role master`"),
        (errors.NotAuthorizedException("may not kinesisvideo:ConnectAsViewer on x"), "token --role viewer`"),
        (errors.AccessDeniedException("may not kinesisvideo:ListSignalingChannels on *"), "token --role admin`"),
        (
            errors.AccessDeniedException(
                "a may not kinesisvideo:ConnectAsMaster on arn:aws:x:y:0:channel/front-door/17"
            ),
            "take a token of `heliograph token --role master --channel front-door`",
        ),
        (
            errors.AccessDeniedException(
                "a may not kinesisvideo:DescribeSignalingChannel on arn:a:b:c:0:channel/door/*"
            ),
            "take a token for this channel: `heliograph token --role master|viewer --channel door`",
        ),
        (errors.AccessDeniedException("only under the client id of its token (cid)"), "with --client-id"),
        (errors.UnknownOperationException("there is no /foo/x"), "a path too much"),
    ],
)
def test_a_refusal_says_what_to_do_on_the_command_line(error: errors.ServiceError, step: str) -> None:
    told = str(refusal(error))
    assert told.startswith(f"{error.message} [{error.code}]; ")
    assert step in told


def test_an_endpoint_that_is_not_there_is_told_with_its_setting_and_a_certificate_with_its_own_advice() -> None:
    assert str(unreachable(OSError("nobody is there"))).endswith("; --endpoint or HELIOGRAPH_ENDPOINT sets it")
    told = "the certificate of https://h is not trusted (x): name its CA"
    assert str(unreachable(OSError(told))) == told


def test_every_exit_code_is_documented() -> None:
    assert set(MEANING) == set(Exit)


def test_every_step_of_a_viewer_has_its_own_code() -> None:
    assert len(set(VIEWER_STEP.values())) == len(VIEWER_STEP)


def test_the_cause_of_a_nested_group_is_the_error_for_the_user() -> None:
    reason = CommandError("relay ended by itself", Exit.PART_ENDED)
    group = BaseExceptionGroup("a", [ValueError("b"), ExceptionGroup("c", [OSError("d"), reason])])
    assert cause(group) is reason
    assert isinstance(cause(ExceptionGroup("a", [ValueError("b")])), ValueError)
    assert cause(reason) is reason
