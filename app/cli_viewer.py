"""`heliograph viewer`: watch a channel without a screen and tell how the picture came."""

import argparse
import asyncio
import secrets

import msgspec

from app import logs
from app.exits import VIEWER_STEP, CommandError, Exit
from app.settings import Loaded
from channels.names import Role, parse_client_id
from channels.service import EndpointUnreachableError
from channels.signaling.client import ClientSettings, SignalingClient
from media.viewer import ViewerError, ViewerReport, ViewerSettings, watch


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Print the report; each step that can fail has its own exit code."""
    settings = loaded.preferring(log_level="warning", log_format="text")
    logs.configure(settings.log_level, settings.log_format)
    client_id = parse_client_id(arguments.client_id) if arguments.client_id else f"viewer-{secrets.token_hex(4)}"
    wanted = ViewerSettings(
        frames=arguments.frames, relay=arguments.relay, timeout_s=arguments.timeout, codec=arguments.codec
    )
    try:
        client = SignalingClient(
            ClientSettings(
                endpoint=settings.endpoint,
                token=settings.token,
                channel_name=arguments.channel,
                role=Role.VIEWER,
                client_id=client_id,
            )
        )
        report = asyncio.run(watch(client, wanted))
    except EndpointUnreachableError as error:
        raise CommandError(str(error), Exit.UNREACHABLE) from None
    except ViewerError as error:
        raise CommandError(f"{error.step}: {error.message}", VIEWER_STEP.get(error.step, Exit.FAILURE)) from None
    print(msgspec.json.encode(report).decode() if arguments.json else _sentence(report))
    return Exit.OK


def _sentence(report: ViewerReport) -> str:
    return (
        f"{report.frames} frames, {report.codec} {report.width}x{report.height}, by the path {report.path}; "
        f"the first {report.first_frame_ms:.0f} ms after the offer"
    )
