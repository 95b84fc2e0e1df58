"""The arithmetic of `bench signaling`, and one real run of its smallest row."""

import asyncio
import math
from pathlib import Path

import msgspec
import pytest

from app.bench import Ratio, Row
from tests.benchmarks import _signaling_rows as rows
from tests.benchmarks import signaling
from tests.benchmarks._signaling_crowd import fitting
from tests.benchmarks._signaling_load import Generator, Relay, Report
from tests.benchmarks._signaling_relays import plain_targets
from tests.benchmarks._signaling_rows import Goal
from tests.programs import require

REPORT = Report(20_000, 2.0, 0.5, 0, 0, 0, 50.0, 100.0, 200.0, (0.15, 0.05))


def test_a_message_costs_the_time_of_all_processes() -> None:
    assert REPORT.per_cpu_s == pytest.approx(100_000)
    assert REPORT.cpu_us() == pytest.approx(10)
    assert REPORT.cpu_us(1) == pytest.approx(7.5)


def test_a_row_has_the_medians_the_ratios_run_by_run_and_every_range() -> None:
    figures = {"ours": [30.0, 10.0, 20.0], "node": [10.0, 10.0, 5.0], "raw": [100.0, 90.0, 110.0]}
    row = rows.row("speed", "k", figures, Goal("ratio", ">=", 3.0), "quiet")
    assert (row.ours, row.peer, row.peer_name, row.unit) == (20.0, 10.0, "node", "k")
    assert row.ratio == Ratio(1.0, 3.0, 4.0)
    assert (row.goal, row.is_met) == ("ratio >= 3", True)
    assert row.note == "10 to 30, node 5 to 10; raw 100 (90 to 110); quiet"


def test_the_best_run_stands_where_noise_only_adds() -> None:
    row = rows.row("p99", "us", {"ours": [30.0, 10.0, 20.0], "node": [9.0, 8.0, 7.0]}, None, "quiet", best=True)
    assert (row.ours, row.peer, row.goal, row.is_met) == (10.0, 7.0, "-", None)
    assert row.note.endswith("; best of the runs; quiet")


def test_a_row_without_a_yardstick_has_no_ratio() -> None:
    row = rows.row("size", "KiB", {"ours": [7.0]}, Goal("ours", "<=", 6.0), "")
    assert (row.peer, row.peer_name, row.ratio, row.is_met) == (None, None, None, False)


@pytest.mark.parametrize(
    ("goal", "is_met"),
    [
        (Goal("ours", "<=", 5.0), True),
        (Goal("ours", "<", 5.0), False),
        (Goal("ratio", ">=", 2.0), True),
        (Goal("ratio", ">=", 2.1), False),
        (Goal("ratio", "<", 2.0), False),
    ],
)
def test_goals_are_of_our_figure_or_of_the_median_ratio(goal: Goal, is_met: bool) -> None:
    assert goal.is_met(5.0, Ratio(1.0, 2.0, 3.0)) is is_met


def test_a_goal_of_a_ratio_that_there_is_not_is_missed() -> None:
    assert not Goal("ratio", ">=", 2.0).is_met(5.0, None)


@pytest.mark.parametrize(("value", "shown"), [(123_456.7, 123_457), (123.456, 123), (1.2345, 1.23), (0.0123, 0.0123)])
def test_figures_have_three_digits(value: float, shown: float) -> None:
    assert math.isclose(rows.rounded(value), shown)


@pytest.mark.parametrize(("value", "text"), [(1_186_760.0, "1186760"), (12.0, "12"), (0.4567, "0.457")])
def test_figures_are_shown_without_exponents(value: float, text: str) -> None:
    assert rows.shown(value) == text


def test_usage_tells_of_full_cores_errors_and_lateness() -> None:
    late = msgspec.structs.replace(REPORT, late=4000, not_relayed=7)
    assert rows.usage([REPORT]) == "server 0.10 core, generator 0.25, not relayed 0"
    assert rows.usage([REPORT, late]) == "server 0.10 core, generator 0.25, not relayed 7, sent late 10.0%"


def test_masters_come_before_their_viewers() -> None:
    lines = plain_targets(2, 2)
    assert [line.split(" ")[:2] for line in lines] == [[role, channel] for channel in "01" for role in "MVV"]
    assert lines[5] == "V 1 v1 /viewer?X-Amz-ChannelARN=bench-1&X-Amz-ClientId=v1"


def test_rows_that_are_measured_together_are_measured_once() -> None:
    assert [group.rows[0] for group in signaling.chosen(["latency_p99", "relay_k3_vs_raw_tcp", "latency_p50"])] == [
        "relay_k3",
        "latency_p50",
    ]
    assert all(group.is_default for group in signaling.chosen([]))


def test_row_names_are_told_apart() -> None:
    assert len(set(signaling.ROWS)) == len(signaling.ROWS)


def test_a_whole_campaign_takes_a_quarter_of_an_hour_at_most() -> None:
    assert sum(group.seconds(5, signaling.SECONDS) for group in signaling.chosen([])) <= 900


def test_progress_tells_the_ratio_and_which_goal_is_missed() -> None:
    row = Row("speed", 2.0, 1.0, "node", "k", Ratio(1.0, 2.0, 3.0), "ratio >= 3", "", False)
    assert signaling.told(row) == "speed: 2 k against 1, ratio 2.00: the goal ratio >= 3 is missed"
    assert signaling.told(Row("size", 2.0, None, None, "KiB", None, "-")) == "size: 2 KiB"


@pytest.mark.parametrize(("most", "kept"), [(9, "MVVMVV"), (6, "MVVMVV"), (5, "MVVMV"), (3, "MVM"), (2, "MM")])
def test_where_files_do_not_suffice_the_last_viewers_stay_out(most: int, kept: str) -> None:
    assert "".join(line[0] for line in fitting(plain_targets(2, 2), most)) == kept


@pytest.mark.slow
async def test_connections_that_wait_for_their_run_answer_pings(tmp_path: Path) -> None:
    require("cc")
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x89\x00\x89\x02hi")
        heard.set_result(await reader.readexactly(6 + 6 + 2))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        is_over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Generator(tmp_path).load(Relay("fake", "ws", (port,), ()), ["M 0 /master"]):
        answer = await asyncio.wait_for(heard, 10.0)
    await is_over.wait()
    mask = answer[8:12]
    assert (answer[:2], answer[6:8]) == (b"\x8a\x80", b"\x8a\x82")
    assert bytes(letter ^ mask[place] for place, letter in enumerate(answer[12:])) == b"hi"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_smallest_row_is_measured_with_real_processes() -> None:
    for program in ("cc", "node", "npm"):
        require(program)
    said: list[str] = []
    found = asyncio.run(signaling.run(1, said.append, rows=("relay_k3_vs_raw_tcp",), seconds=0.2))
    assert [row.name for row in found] == ["relay_k3_vs_raw_tcp"]
    assert found[0].ratio is not None
    assert 0 < found[0].ratio.median < 1
    assert "minutes" in said[0]
