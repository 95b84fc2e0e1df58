"""`heliograph viewer`: watch a channel without a screen and tell how the picture came."""

import argparse
import asyncio
import secrets

import msgspec

from app import logs
from app.access import access_of
from app.exits import VIEWER_STEP, CommandError, Exit, next_step, unreachable
from app.settings import Loaded
from channels.errors import ServiceError
from channels.names import Role, parse_client_id
from channels.service import EndpointUnreachableError
from channels.signaling.client import ClientSettings, RefusedError, SignalingClient
from media.peer.tally import ONE_MACHINE, Latency
from media.viewer import ViewerError, ViewerReport, ViewerSettings, watch

FRAMES = 30
LATENCY_FRAMES = 300
"""Ten seconds of pictures: enough for a 95th percentile."""


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Print the report; each step that can fail has its own exit code."""
    settings = loaded.preferring(log_level="warning", log_format="text")
    logs.configure(settings.log_level, settings.log_format)
    client_id = parse_client_id(arguments.client_id) if arguments.client_id else f"viewer-{secrets.token_hex(4)}"
    frames = arguments.frames or (LATENCY_FRAMES if arguments.latency else FRAMES)
    wanted = ViewerSettings(frames=frames, relay=arguments.relay, timeout_s=arguments.timeout, codec=arguments.codec)
    try:
        client = SignalingClient(
            ClientSettings(
                endpoint=settings.endpoint,
                access=access_of(settings),
                channel_name=arguments.channel,
                role=Role.VIEWER,
                client_id=client_id,
            )
        )
        report = asyncio.run(watch(client, wanted))
    except EndpointUnreachableError as error:
        raise unreachable(error) from None
    except ViewerError as error:
        raise _failure(error) from None
    if arguments.latency and report.latency is None:
        raise CommandError(_no_latency(report), Exit.FAILURE)
    print(msgspec.json.encode(report).decode() if arguments.json else _sentence(report, is_timed=arguments.latency))
    return Exit.OK


def _failure(error: ViewerError) -> CommandError:
    reason = error.__cause__
    if isinstance(reason, EndpointUnreachableError):
        return unreachable(error)
    words = next_step(reason.code, reason.message) if isinstance(reason, ServiceError | RefusedError) else ""
    return CommandError(error.message + words, VIEWER_STEP.get(error.step, Exit.FAILURE))


def _sentence(report: ViewerReport, *, is_timed: bool) -> str:
    text = (
        f"{report.frames} frames, {report.codec} {report.width}x{report.height}, by the path {report.path}; "
        f"the first {report.first_frame_ms:.0f} ms after the offer"
    )
    if is_timed and report.latency is not None:
        text += f"\n{_timed(report.latency)}"
    return text


def _timed(latency: Latency) -> str:
    text = (
        f"glass to glass: min {latency.min_ms} ms, p50 {latency.p50_ms} ms, p95 {latency.p95_ms} ms, "
        f"max {latency.max_ms} ms over {latency.pictures} pictures, at most a frame ({latency.error_ms} ms) more"
    )
    if latency.clocks != ONE_MACHINE:
        text += (
            "; the master is on another machine, or behind a relay: its clock must agree with ours to the millisecond"
        )
    return text


def _no_latency(report: ViewerReport) -> str:
    if report.counter_last is None:
        return (
            "the picture has no counter, so nobody can tell how old it is: "
            "the test pattern has one (heliograph master --source test)"
        )
    return "the clocks of the two machines are more than a minute apart: set both by NTP"
