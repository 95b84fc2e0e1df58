from channels.embedded.bus import EmbeddedBus


async def test_nothing_is_kept_for_topics_without_subscribers() -> None:
    topics: dict[str, object] = {}
    bus = EmbeddedBus(topics)  # type: ignore[arg-type]
    await bus.subscribe("t", bytes)

    await bus.unsubscribe("t")
    await bus.publish("u", b"x")

    assert topics == {}


async def test_a_second_subscription_of_one_node_takes_the_place_of_the_first() -> None:
    bus, first, second = EmbeddedBus(), list[bytes](), list[bytes]()
    await bus.subscribe("t", first.append)
    await bus.subscribe("t", second.append)

    assert await bus.publish("t", b"x") == 1
    assert (first, second) == ([], [b"x"])
