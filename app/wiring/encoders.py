"""The encoders of this machine: what a probe found, and what a master may use of it. Imports codecs."""

import contextlib
import logging
from collections.abc import Callable, Iterator

from app import settings as settings_module
from app.exits import CommandError, Exit
from app.settings import Settings, SettingsError
from media.encoders import backends, choose
from media.encoders.backends import Backend
from media.encoders.cache import Cache
from media.encoders.encoder import Codec, EncoderError, EncoderSettings
from media.encoders.finding import Finding
from media.encoders.machine import Machine
from media.encoders.probe import Mode, Probe

log = logging.getLogger(__name__)

_BUDGET_S = 25.0
"""Of a master for all devices: `demo` waits 30 s for it. A driver that hangs is remembered and costs this but once."""
VIDEO = (Codec.H264.value, Codec.VP8.value)


def machine_probe(settings: Settings) -> Probe:
    """The probe with its memory in the user's cache folder, else in the data folder where there is one."""
    own = settings_module.cache_folder()
    folders = [own] if own is not None else []
    with contextlib.suppress(SettingsError):  # a data folder of `~` for a user without a home
        if settings.data_path.is_dir():
            folders.append(settings.data_path)
    return Probe(Cache(folders))


def findings(settings: Settings, refresh: bool, announce: Callable[[Backend], None]) -> Iterator[Finding]:
    """Probe every encoder of the table in its order; what works and did not change is remembered."""
    mode = Mode.REFRESH if refresh else Mode.RETRY
    return machine_probe(settings).find(backends.TABLE, mode, announce)


def encoder_settings(name: str, bitrate_bps: int, settings: Settings) -> EncoderSettings:
    """How a master encodes: probes the device that is pinned, or for `auto` those that may be here.

    Raises: CommandError: there is no such encoder, or the one that is pinned does not work here.
    """
    try:
        choose.check_name(name)
    except EncoderError as error:
        raise CommandError(f"--encoder {name}: {error}", Exit.USAGE) from None
    probe = machine_probe(settings)
    if name == backends.AUTO:
        machine = Machine()
        wanted = [each for each in backends.TABLE if not each.is_software and machine.has_trace(each)]
        found = tuple(probe.find(wanted, budget_s=_BUDGET_S))
    elif all(backends.is_software(name, codec) for codec in VIDEO):
        found = ()
    else:
        found = tuple(probe.find((backends.BY_NAME[name],), Mode.RETRY))
    for each in found:
        log.info("encoder probed", extra={"encoder": each.name, "works": each.works, "reason": each.words})
    if name != backends.AUTO and found and not found[0].works:
        raise CommandError(f"--encoder {name}: {found[0].words}", Exit.ENCODER)
    usable = tuple(each.backend for each in found if each.works)
    chosen = {codec: backends.order(codec, name, usable)[0].name for codec in VIDEO}
    log.info("encoders chosen", extra={**chosen, "pinned": name != backends.AUTO})
    return EncoderSettings(encoder=name, bitrate_bps=bitrate_bps, usable=usable)
