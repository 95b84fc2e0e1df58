import pytest

from channels.names import Role
from channels.presence import Holder
from channels.signaling import flows as module
from channels.signaling.envelope import Deliver, encode
from channels.signaling.flows import WAITING_LIMIT, Flows, Parcel, Route
from channels.signaling.mailbox import Mail
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address

VIEWER = Address(Role.VIEWER, "v1")
ROUTE = Route.of(Holder(Role.MASTER, "", "b", "b-1", 7))


def mail(id: str, correlation_id: str = "c") -> Mail:
    return Mail(id, "arn", MASTER, VIEWER, Action.ICE_CANDIDATE, b"{}", correlation_id, 60.0, "a", "a-1")


def test_a_route_says_what_a_body_begins_with() -> None:
    assert (ROUTE.node, ROUTE.connection_id) == ("b", "b-1")
    assert ROUTE.head + b"{}" == encode(Deliver("b-1", b"{}"))


def test_a_flow_is_found_again_until_it_is_forgotten_or_its_channel_left() -> None:
    flows = Flows()
    master, viewer = flows.get("arn", MASTER), flows.get("arn", VIEWER)
    assert flows.get("arn", MASTER) is flows.find("arn", MASTER) is master
    assert (len(flows), list(flows)) == (2, [master, viewer])
    master.outstanding = 1
    flows.forget(master)
    viewer.route = ROUTE
    flows.leave("arn")
    assert list(flows) == [master]
    master.outstanding = 0
    flows.forget(master)
    flows.forget(master)
    flows.leave("nowhere")
    assert (len(flows), flows.find("arn", MASTER)) == (0, None)


def test_what_waits_is_bounded_per_channel_and_comes_in_order() -> None:
    flows = Flows()
    flow = flows.get("arn", MASTER)
    parcels = [Parcel(mail(str(number)), flow, 1.0) for number in range(WAITING_LIMIT)]
    assert all(flows.put(flow, parcel) for parcel in parcels)
    assert not flows.put(flows.get("arn", VIEWER), parcels[0])
    assert flows.put(flows.get("other", MASTER), parcels[0])
    assert flows.put(flow, parcels[0], is_urgent=True)
    assert not flow.is_idle
    assert [flows.take(flow) for _ in parcels] == parcels
    assert flows.put(flow, parcels[1])


def test_what_is_late_and_wants_an_answer_is_taken_out() -> None:
    flows = Flows()
    flow = flows.get("arn", MASTER)
    late, quiet, later = (
        Parcel(mail("1"), flow, 1.0),
        Parcel(mail("2", correlation_id=""), flow, 1.0),
        Parcel(mail("3"), flow, 9.0),
    )
    flow.returned.append(late)
    for parcel in (late, quiet, later):
        flows.put(flow, parcel)

    assert flows.take_late(flow, 1.0) == [late, late]
    assert list(flow.queue) == [quiet, later]
    assert not flow.returned
    assert [flows.take(flow), flows.take(flow)] == [quiet, later]
    assert flow.is_idle


def test_routes_that_nobody_uses_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROUTES", 8)
    flows = Flows()
    busy = flows.get("arn", MASTER)
    busy.is_working = True
    for number in range(20):
        flows.get("arn", Address(Role.VIEWER, f"v{number}")).route = ROUTE

    assert len(flows) <= 8
    assert flows.find("arn", MASTER) is busy
    assert flows.find("arn", Address(Role.VIEWER, "v19")) is not None
