"""What a credential that is good allows."""

import pytest

from app.authenticate import authorise, authorise_connect
from channels.auth.grant import Grant
from channels.auth.ticket import Ticket
from channels.errors import AccessDeniedException, NotAuthorizedException
from channels.names import Role
from tests.app.door import ARN, OTHER, grant


def test_authorise_raises_the_error_it_is_told_with_the_reason() -> None:
    authorise(grant(), "GetIceServerConfig", str(ARN))
    with pytest.raises(AccessDeniedException, match="alice may not kinesisvideo:GetIceServerConfig"):
        authorise(grant("Connect*"), "GetIceServerConfig", str(ARN))
    with pytest.raises(NotAuthorizedException):
        authorise(grant("Connect*"), "GetIceServerConfig", str(ARN), error=NotAuthorizedException)


VIEWER, MASTER = Role.VIEWER, Role.MASTER
TICKET = Ticket(grant(), ARN, VIEWER, "v-1")


@pytest.mark.parametrize(
    ("given", "ticket", "role", "client_id", "is_allowed"),
    [
        (grant("ConnectAsViewer"), None, VIEWER, "v-1", True),
        (grant("ConnectAsViewer"), None, MASTER, "", False),
        (grant("ConnectAsMaster"), None, MASTER, "", True),
        (grant("ConnectAsMaster"), None, VIEWER, "v-1", False),
        (grant("ConnectAsViewer", str(OTHER)), None, VIEWER, "v-1", False),
        (grant(client_id="v-1"), None, VIEWER, "v-1", True),
        (grant(client_id="v-1"), None, VIEWER, "v-2", False),
        (grant(client_id="v-1"), None, MASTER, "", True),
        (grant(), TICKET, VIEWER, "v-1", True),
        (grant(), TICKET, VIEWER, "v-2", False),
        (grant(), TICKET, MASTER, "", False),
        (grant("GetIceServerConfig"), TICKET, VIEWER, "v-1", False),
        (grant(client_id="v-2"), TICKET, VIEWER, "v-1", False),
    ],
)
def test_connect_is_decided_by_action_ticket_and_client_id(
    given: Grant, ticket: Ticket | None, role: Role, client_id: str, is_allowed: bool
) -> None:
    if is_allowed:
        authorise_connect(given, ticket, ARN, role, client_id)
        return
    with pytest.raises(AccessDeniedException):
        authorise_connect(given, ticket, ARN, role, client_id)


def test_ticket_does_not_open_another_channel() -> None:
    with pytest.raises(AccessDeniedException, match="another channel, role or client id"):
        authorise_connect(grant(), TICKET, OTHER, VIEWER, "v-1")
