"""Which process a channel belongs to, as endpoint answers, pages and operators are told it."""

import hashlib
import secrets
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from app import logs
from app.endpoints import SLOT, EndpointSettings, Owner
from app.settings import Settings, SettingsError
from app.slot_memory import SlotMemory
from channels import owners
from channels.names import ChannelArn
from channels.owners import Place, Slot, Slots


def endpoint_settings(settings: Settings) -> EndpointSettings:
    """Return what endpoint answers are made of; `http_port` and `https_port` are those that were bound."""
    return EndpointSettings(
        public_host=settings.public_host or None,
        public_scheme=None if settings.public_scheme == "auto" else settings.public_scheme,
        https_port=settings.https_port if settings.tls else None,
        wildcard=settings.endpoint_wildcard.removeprefix("*."),
        slot_host=settings.slot_host,
        http_port=settings.http_port,
    )


class Ownership:
    """What one process says of the others; without slots it is alone."""

    def __init__(self, settings: Settings, slots: Slots | None, memory: SlotMemory | None = None) -> None:
        self._settings = settings
        self._slots = slots
        if slots is not None:
            slots.place = _place(settings)
            slots.on_number.append(_mark_logs)
            if memory is not None:
                slots.on_number.append(memory.remember)

    @property
    def number(self) -> int | None:
        """The slot of this process, if it has one."""
        return None if self._slots is None else self._slots.number

    def known(self) -> tuple[int | None, Sequence[Slot]] | None:
        """The slot of this process and those of all; None for one that is alone."""
        return None if self._slots is None else (self._slots.number, self._slots.live)

    def owner(self, arn: ChannelArn) -> Owner | None:
        """Return the process that the channel belongs to; None while none is known."""
        if self._slots is None:
            return None
        found = owners.owner(str(arn), self._slots.live)
        if found is None:
            return None
        place = found.place
        is_next_door = place.machine == self._slots.place.machine
        ports = {"http": place.http_port, "https": place.https_port} if is_next_door else {}
        return Owner(found.number, place.host, ports)

    def ports(self) -> Iterator[int]:
        """The ports next door: pages that come from there are ours, too."""
        for slot in self._slots.live if self._slots else ():
            if self._slots and slot.place.machine == self._slots.place.machine:
                yield from (slot.place.http_port, slot.place.https_port)

    def hosts(self) -> Collection[str]:
        """The hosts, some with a port, that processes were told to have."""
        found = set()
        for slot in self._slots.live if self._slots else ():
            found |= {slot.place.host, self._settings.slot_host.replace(SLOT, str(slot.number))}
        return found - {""}

    async def settle(self) -> None:
        """Wait until this process has its slot. Raises: SettingsError when the slot it must have is another's."""
        if self._slots is not None and not await self._slots.settle() and self._settings.slot:
            raise SettingsError(
                f"SLOT: another process has the number {self._settings.slot}; stop it, or choose another with --slot "
                "or HELIOGRAPH_SLOT"
            )

    async def drain(self) -> None:
        """Let nobody be sent here any more."""
        if self._slots is not None:
            await self._slots.drain()


def _mark_logs(number: int | None, _: str) -> None:
    logs.mark("slot", number)


def _place(settings: Settings) -> Place:
    https_port = settings.https_port if settings.tls else 0
    return Place(settings.public_host, settings.http_port, https_port, _machine(settings.host))


def _machine(host: str) -> str:
    """What processes have in common that answer at the same addresses: boot, network, and what they bind."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        network = str(Path("/proc/self/ns/net").stat().st_ino)
    except OSError:
        return secrets.token_hex(8)  # like no other
    return hashlib.sha256(f"{boot} {network} {host}".encode()).hexdigest()[:16]
