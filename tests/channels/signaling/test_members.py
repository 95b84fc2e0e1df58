from channels.names import Role
from channels.presence import Holder
from channels.signaling.limits import Limits
from channels.signaling.members import Connect, Member, Members
from channels.signaling.protocol import MASTER, Address, Close, Rules
from tests.channels.signaling.rig import Recorder, channel


def member(number: int, role: Role, client_id: str = "", credential_ids: tuple[str, ...] = ()) -> Member:
    holder = Holder(role, client_id, "a", f"a-{number}", number)
    connect = Connect(channel(), role, client_id, credential_ids=credential_ids)
    return Member(connect, Recorder(), holder, Rules(role, Limits.aws(), 0.0))


ARN = str(channel().arn)


def test_a_member_is_found_by_id_and_by_slot() -> None:
    members = Members()
    master, viewer = member(1, Role.MASTER, "ignored"), member(2, Role.VIEWER, "v1")
    members.add(master)
    members.add(viewer)

    assert members.get("a-1") is master
    assert members.find(ARN, MASTER) is master
    assert members.find(ARN, Address(Role.VIEWER, "v1")) is viewer
    assert members.find("other", MASTER) is None
    assert set(members.of(ARN)) == set(members) == {master, viewer}
    assert (len(members), members.masters) == (2, 1)
    assert members.channels == {ARN}


def test_a_removed_member_leaves_nothing_behind() -> None:
    members = Members()
    master = member(1, Role.MASTER)
    members.add(master)

    assert members.remove(master)
    assert not members.remove(master)
    assert (len(members), members.masters, members.of(ARN), members.channels) == (0, 0, (), frozenset())


def test_the_newer_member_keeps_the_slot_when_the_older_goes() -> None:
    members = Members()
    old, new = member(1, Role.VIEWER, "v1"), member(2, Role.VIEWER, "v1")
    members.add(old)
    members.add(new)

    members.remove(old)

    assert members.find(ARN, Address(Role.VIEWER, "v1")) is new


def test_an_older_member_that_comes_late_does_not_take_the_slot() -> None:
    members = Members()
    old, new = member(1, Role.MASTER), member(2, Role.MASTER)
    members.add(new)
    members.add(old)

    assert members.find(ARN, MASTER) is new
    assert members.get("a-1") is old


def test_frames_that_wait_are_released_in_order_and_bounded() -> None:
    viewer = member(1, Role.VIEWER, "v1")

    assert viewer.wait(b"12", 4)
    assert viewer.wait(b"34", 4)
    assert not viewer.wait(b"5", 4)
    assert viewer.release() == [(b"12", None), (b"34", None)]
    assert viewer.release() == []
    assert viewer.wait(b"1234", 4)
    assert viewer.role == "viewer"


def test_the_bearers_of_a_credential_are_found_without_looking_at_the_others() -> None:
    members = Members()
    parent, child, other = (
        member(1, Role.VIEWER, "v1", ("key",)),
        member(2, Role.VIEWER, "v2", ("key", "session", "key")),
        member(3, Role.VIEWER, "v3", ("other",)),
    )
    for each in (parent, child, other):
        members.add(each)

    assert members.bearing(frozenset(("key", "unknown"))) == (parent, child)
    assert set(members.bearing(frozenset(("session", "key")))) == {parent, child}
    members.remove(child)
    assert members.bearing(frozenset(("session",))) == ()
    assert members.bearing(frozenset(("key",))) == (parent,)
    members.remove(parent)
    members.remove(other)
    assert len(members._bearers) == 0


def test_a_connect_with_a_lifetime_of_its_own_ends_with_it_to_the_second() -> None:
    brief = Connect(channel(), Role.VIEWER, "v1", lifetime_s=30.0)

    for limits in (Limits.aws(), Limits.aws().with_control_messages(), Limits.relaxed()):
        rules = brief.rules(limits, 100.0, 1.0)
        assert rules.next_deadline() == 130.0
        assert rules.expire(130.0) == Close(1001, "the lifetime of a connection is over")
    assert brief.rules(Limits(lifetime_s=10.0), 100.0, 1.0).next_deadline() == 110.0
    assert Connect(channel(), Role.VIEWER, "v1").rules(Limits(idle_s=None), 100.0, 1.0).next_deadline() == 3640.0
