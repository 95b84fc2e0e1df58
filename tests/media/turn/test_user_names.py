from media.turn import stun
from media.turn.user_names import UserNames
from tests.media.turn.world import REALM, Caller, World, code_of


def found(names: UserNames, username: str) -> str | None:
    return names.username_for(stun.userhash(username, REALM))


def test_a_name_is_known_by_its_hash_in_the_realm() -> None:
    names = UserNames(REALM)
    names.learn("ann", 300.0, 0.0)
    assert found(names, "ann") == "ann"
    assert names.username_for(stun.userhash("ann", "another realm")) is None
    assert found(names, "bob") is None


def test_names_are_forgotten_when_they_expire() -> None:
    names = UserNames(REALM)
    names.learn("ann", 300.0, 0.0)
    names.learn("ben", 301.0, 1.0)
    names.learn("cleo", 600.0, 299.9)
    assert len(names) == 3
    names.learn("dan", 601.0, 301.0)
    assert [found(names, name) for name in ("ann", "ben", "cleo", "dan")] == [None, None, "cleo", "dan"]
    assert names.forgotten == 0


def test_a_name_that_has_expired_already_is_not_kept() -> None:
    names = UserNames(REALM)
    names.learn("ann", 300.0, 300.0)
    assert len(names) == 0


def test_the_oldest_gives_way_where_there_is_no_room() -> None:
    names = UserNames(REALM, most=2)
    for name in ("ann", "ben", "ann", "cleo"):
        names.learn(name, 300.0, 0.0)
    assert [found(names, name) for name in ("ann", "ben", "cleo")] == ["ann", None, "cleo"]
    assert (len(names), names.forgotten) == (2, 1)


def test_an_allocation_outlives_the_name_it_was_made_with() -> None:
    names = UserNames(REALM)
    world = World(username_for=names.username_for)
    world.credential_end = world.now + 300.0
    caller, late = Caller(world), Caller(world, port=40001)
    for each in (caller, late):
        each.use_sha256(is_hashed=True)
        assert code_of(each.allocate()) == 401
    names.learn("user", world.credential_end, world.now)
    assert code_of(caller.allocate()) == 0
    world.pass_time(300.0)
    names.learn("another", world.now + 300.0, world.now)
    assert found(names, "user") is None
    assert code_of(caller.refresh()) == 0
    assert code_of(late.allocate()) == 401
