"""Errors that go over the wire, named exactly as AWS names them: the class name IS the code.

ServiceError                                  the caller's request fails
├── InvalidArgumentException            400   a field is missing, malformed or out of range
├── ResourceInUseException              400   the name is taken, or the channel is not ACTIVE
├── VersionMismatchException            400   CurrentVersion is stale
├── ClientLimitExceededException        400   a rate or a count limit; names limit, value, retry-after
├── AccountChannelLimitExceededException 400  too many channels in the account
├── TagsPerResourceExceededLimitException 400 more than 50 tags
├── InvalidClientException              400   signaling: the client id may not do this
├── AccessDeniedException               401   control plane (403 on the websocket): no statement allows it
├── NotAuthorizedException              401   signaling HTTPS operations: no statement allows it
├── MissingAuthenticationTokenException 403   no credential at all
├── UnrecognizedClientException         403   the credential is not one of ours
├── InvalidSignatureException           403   the credential is ours, its signature is not
├── IncompleteSignatureException        403   a part of the signature is missing, malformed or there twice
├── ExpiredTokenException               403   the credential was good once
├── ResourceNotFoundException           404   no such channel
├── UnknownOperationException           404   no such path
├── RequestEntityTooLargeException      413   body over the cap
├── InternalFailureException            500   our fault; details are in the log only
└── ServiceUnavailableException         503   a store does not answer; try again

Source: service models of kinesisvideo and kinesis-video-signaling; front-door codes of AWS.
"""

from typing import ClassVar

import msgspec


class Limit(msgspec.Struct, frozen=True):
    """Which limit refused a request, its configured value, and when to try again.

    `name` is the setting-like name of the limit (`viewers_per_channel`), `value` its bound in the unit
    that the name says, `retry_after_s` the earliest time in seconds at which a retry can succeed;
    None when only somebody's leaving helps.
    """

    name: str
    value: float
    retry_after_s: float | None = None


class ServiceError(Exception):
    """The caller's request fails; `code` and `status` go over the wire, `message` tells the caller what to do."""

    status: ClassVar[int] = 400

    def __init__(self, message: str, limit: Limit | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.limit = limit

    @property
    def code(self) -> str:
        """The AWS error code: the name of the class."""
        return type(self).__name__


class InvalidArgumentException(ServiceError):
    """A field is missing, malformed or out of range."""


class ResourceInUseException(ServiceError):
    """The name is taken, or the channel is not ACTIVE."""


class VersionMismatchException(ServiceError):
    """CurrentVersion is not the channel's version: describe it again."""


class ClientLimitExceededException(ServiceError):
    """A rate or count limit refused the request; `limit` names it."""


class AccountChannelLimitExceededException(ServiceError):
    """The account holds as many channels as it may."""


class TagsPerResourceExceededLimitException(ServiceError):
    """A resource carries at most 50 tags."""


class InvalidClientException(ServiceError):
    """The client id may not do this."""


class AccessDeniedException(ServiceError):
    """No statement of the caller's grant allows the action (control plane)."""

    status = 401


class NotAuthorizedException(ServiceError):
    """No statement of the caller's grant allows the action (signaling)."""

    status = 401


class MissingAuthenticationTokenException(ServiceError):
    """The request carries no credential."""

    status = 403


class UnrecognizedClientException(ServiceError):
    """The credential was not issued for this service."""

    status = 403


class InvalidSignatureException(ServiceError):
    """The credential names a key of ours but its signature is wrong, too old, or for something else.

    `canonical_hashes` are the SHA-256 of what it was verified against, for the audit log; empty when it was not.
    """

    status = 403

    def __init__(self, message: str, limit: Limit | None = None, canonical_hashes: tuple[str, ...] = ()) -> None:
        super().__init__(message, limit)
        self.canonical_hashes = canonical_hashes


class IncompleteSignatureException(ServiceError):
    """A part of the signature is missing, malformed or there twice."""

    status = 403


class ExpiredTokenException(ServiceError):
    """The credential has expired: get a new one."""

    status = 403


class ResourceNotFoundException(ServiceError):
    """There is no such channel."""

    status = 404


class UnknownOperationException(ServiceError):
    """There is no such operation at this path."""

    status = 404


class RequestEntityTooLargeException(ServiceError):
    """The body is over the cap."""

    status = 413


class InternalFailureException(ServiceError):
    """The service failed; the log has the reason under the request id."""

    status = 500


class ServiceUnavailableException(ServiceError):
    """A part the request needs does not answer: try again."""

    status = 503
