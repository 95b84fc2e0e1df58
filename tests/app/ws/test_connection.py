"""One websocket: what is written when, who hears what, and how it ends."""

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest

from app.ws import asgi, frames
from app.ws.crowd import LOOKS
from tests.app.ws.wire import Heard, Opened, masked, opened

CLOSE_1000 = masked(8, (1000).to_bytes(2, "big"))


async def test_what_is_sent_in_one_turn_is_one_write_in_its_order() -> None:
    async with opened() as both:
        assert both.connection.send(b"a")
        assert both.connection.send_binary(b"b" * 200)
        assert both.wire.writes == []
        await both.turns()
        assert both.wire.writes == [b"\x81\x01a\x82\x7e\x00\xc8" + b"b" * 200]


async def test_a_close_comes_after_what_was_sent_and_is_waited_for() -> None:
    async with opened() as both:
        both.connection.send(b"last")
        both.connection.close(1001, "go")
        assert both.wire.writes == [b"\x81\x04last", frames.close(1001, "go")]
        assert not both.connection.send(b"more")
        assert both.heard.ends == [(1001, "go")]
        assert not both.wire.is_closing()
        both.sees(CLOSE_1000)
        assert both.wire.is_closing()
        await both.heard.has_ended.wait()


async def test_a_peer_that_answers_no_close_is_cut_off() -> None:
    async with opened(close_s=0.01) as both:
        both.connection.close(1000, "")
        async with asyncio.timeout(15):
            await both.wire.is_closed.wait()
        assert both.wire.was_aborted


async def test_a_close_of_the_peer_is_echoed_and_ends_the_connection() -> None:
    async with opened() as both:
        both.connection.send(b"x")
        both.sees(masked(8, (4000).to_bytes(2, "big") + b"bye"))
        assert both.wire.writes == [b"\x81\x01x", frames.close(4000)]
        assert both.wire.is_closing()
        assert both.heard.ends == [None]


async def test_what_does_not_fit_is_not_taken_and_what_waits_in_the_transport_counts() -> None:
    async with opened(queued_bytes=100) as both:
        assert both.connection.send(b"a" * 60)
        assert not both.connection.send(b"a" * 60)
        await both.turns()
        both.wire.unsent = 60
        both.connection.pause_writing()
        assert not both.connection.send(b"a" * 60)
        both.connection.bound(1000)
        assert both.connection.send(b"a" * 60)
        assert both.connection.unsent_bytes == 120


async def test_a_peer_that_is_behind_does_not_get_what_waits_when_it_is_closed() -> None:
    async with opened() as both:
        both.connection.pause_writing()
        both.connection.send(b"late")
        both.connection.close(1008, "too slow")
        assert both.wire.writes == [frames.close(1008, "too slow")]


async def test_a_ping_is_answered_but_not_while_answers_are_left_unread() -> None:
    async with opened() as both:
        both.sees(masked(9, b"one") + masked(9, b"two"))
        await both.turns()
        assert both.wire.writes == [frames.pong(b"one") + frames.pong(b"two")]
        both.wire.unsent = 20_000
        both.sees(masked(9, b"three"))
        await both.turns()
        assert len(both.wire.writes) == 1


async def test_a_fault_closes_with_its_code_and_nothing_more_is_heard() -> None:
    async with opened() as both:
        both.sees(masked(1, b"good") + masked(1, b"\xff") + masked(1, b"late"), masked(1, b"later"))
        assert both.heard.messages == ["good"]
        assert both.heard.ends == [(1007, "a text message must be UTF-8")]
        assert both.wire.writes == [frames.close(1007, "a text message must be UTF-8")]
        assert both.wire.has_eof


async def test_a_flood_waits_for_its_turns() -> None:
    async with opened() as both:
        both.sees(b"".join(masked(1, b"%d" % number) for number in range(150)))
        assert len(both.heard.messages) == frames.TURN_FRAMES
        assert both.wire.is_paused
        await both.turns(4)
        assert both.heard.messages == [str(number) for number in range(150)]
        assert not both.wire.is_paused


async def test_who_sends_more_frames_than_it_may_is_read_more_slowly() -> None:
    for frames_per_s in (1000.0, 100.0, 10.0):  # a machine that stalls gives the peer time for as many frames
        async with opened() as both:
            both.connection.bound(1000, frames_per_s=frames_per_s, burst=10.0)
            both.sees(masked(1, b"a") * 20)
            if not (is_slowed := both.wire.is_paused):
                continue
            both.wire.has_resumed.clear()
            both.sees(masked(1, b"b"))  # what was read already is heard
            async with asyncio.timeout(15):
                await both.wire.has_resumed.wait()
            assert both.heard.messages == ["a"] * 20 + ["b"]
            break
    assert is_slowed


async def test_fragments_count_as_frames_though_nobody_hears_them() -> None:
    async with opened() as both:
        both.connection.bound(1000, frames_per_s=1.0, burst=10.0)
        both.sees(masked(1, b"a", fin=False) + masked(0, b"", fin=False) * 8)
        assert not both.wire.is_paused
        both.sees(masked(0, b"", fin=False) * 2)
        assert both.wire.is_paused
        both.sees(masked(0, b"b"))
        assert both.heard.messages == ["ab"]


async def test_a_listener_that_fails_closes_its_own_websocket(caplog: pytest.LogCaptureFixture) -> None:
    def fail(message: str | bytes) -> None:
        raise ZeroDivisionError

    async with opened() as both:
        both.heard.text = fail
        both.sees(masked(1, b"a"))
        assert both.connection.end is not None
        assert both.connection.end[0] == 1011
    assert [record.message for record in caplog.records] == ["a websocket failed"]


async def test_a_lost_connection_is_told_once_and_forgotten() -> None:
    async with opened() as both:
        assert len(both.crowd) == len(both.state.connections) == 1
        both.lose()
        assert both.heard.ends == [None]
        assert len(both.crowd) == len(both.state.connections) == 0
        assert not both.connection.send(b"a")
        await both.heard.has_ended.wait()


async def test_a_silent_peer_is_pinged_then_closed() -> None:
    async with opened() as both:
        both.connection.look()  # it has just opened
        for _ in range(LOOKS):
            both.connection.look()
        await both.turns()
        assert both.wire.writes == [frames.ping(b"")]
        both.sees(masked(10))
        both.connection.look()
        for _ in range(2 * LOOKS):
            assert both.connection.end is None
            both.connection.look()
        assert both.connection.end == (1001, "no answer to a ping")


async def test_a_shutdown_tells_1001_and_the_second_waits_no_longer() -> None:
    async with opened() as both:
        both.connection.shutdown()
        assert both.wire.writes == [frames.close(1001, "this node is going away")]
        both.connection.shutdown()
        assert both.wire.was_aborted


async def test_frames_that_come_before_the_answer_are_heard_after_it() -> None:
    go = asyncio.Event()

    async def slow(both: Opened, receive: Any) -> None:
        await go.wait()
        both.connection.answer(b"101", is_open=True)
        both.connection.take_over(both.heard)

    async with opened(handshake=slow) as both:
        early = masked(1, b"early") + masked(1, b"too")
        both.sees(early[:3], early[3:])
        assert both.wire.is_paused
        go.set()
        await both.turns(4)
        assert both.heard.messages == ["early", "too"]
        assert not both.wire.is_paused


async def test_nothing_of_the_application_is_left_once_it_is_taken_over() -> None:
    seen: list[weakref.ref[asgi.Application]] = []

    async def take_over(both: Opened, receive: Any) -> None:
        seen.append(weakref.ref(receive.__self__))
        both.connection.answer(b"101", is_open=True)
        both.connection.take_over(both.heard)

    gc.disable()
    try:
        async with opened(handshake=take_over) as both:
            await both.turns(3)
            assert seen[0]() is None
            assert not both.state.tasks
            both.sees(masked(1, b"still there"))
            assert both.heard.messages == ["still there"]
    finally:
        gc.enable()


async def test_a_websocket_that_was_closed_while_it_opened_says_so_to_whom_takes_it_over() -> None:
    late = Heard()

    async def close_first(both: Opened, receive: Any) -> None:
        both.connection.send(b"held")
        both.connection.close(1000, "replaced")
        both.connection.answer(b"101", is_open=True)
        both.connection.take_over(late)

    async with opened(handshake=close_first) as both:
        assert both.wire.writes == [b"101", b"\x81\x04held", frames.close(1000, "replaced")]
        assert late.ends == [(1000, "replaced")]


async def test_a_peer_that_left_before_the_answer_takes_none(caplog: pytest.LogCaptureFixture) -> None:
    async def late(both: Opened, receive: Any) -> None:
        both.lose()
        both.connection.answer(b"101", is_open=True)

    with caplog.at_level(logging.ERROR):
        async with opened(handshake=late) as both:
            assert both.wire.writes == []
            with pytest.raises(OSError, match="left"):
                both.connection.take_over(both.heard)
    assert not caplog.records


async def test_a_paused_peer_is_read_again_once_it_is_told_to_go_and_what_it_said_before_it_heard_is_late() -> None:
    async with opened() as both:
        both.sees(masked(1, b"in time"))
        both.connection.pause()
        assert both.wire.is_paused
        both.connection.close(1001, "this node is going away")
        await both.turns()
        assert not both.wire.is_paused
        assert both.heard.ends == [(1001, "this node is going away")]
        both.sees(masked(1, b"late"), masked(9, b"no pong"), masked(8, b"\x03\xe9"), masked(1, b"after the end"))
        assert both.wire.writes == [frames.close(1001, "this node is going away")]
        assert both.heard.messages == ["in time", "late"]


async def test_after_any_other_close_nothing_more_is_heard() -> None:
    async with opened() as both:
        both.connection.close(1000, "replaced by a newer master")
        both.sees(masked(1, b"late"))
        assert both.heard.messages == []


async def test_a_peer_that_is_behind_still_gets_what_waits_when_the_node_goes_away() -> None:
    async with opened() as both:
        both.connection.pause_writing()
        both.connection.send(b"last")
        both.connection.close(1001)
        assert both.wire.writes == [b"\x81\x04last", frames.close(1001)]
