"""How often one may connect to a channel: the rates of ConnectAsMaster and ConnectAsViewer. No clock, no I/O but a log.

Each node counts what it admits itself: it is protected from storms, and no connect asks another machine for leave.
Also names two masters that throw each other out, once per window. Source: KVS developer guide, 3 connects/s/channel.
"""

import logging
from collections import OrderedDict
from typing import Final

from channels.errors import ClientLimitExceededException, Limit
from channels.names import Role
from channels.signaling.limits import Limits, Meter, Rate
from channels.signaling.members import Connect

FIGHT_WINDOW_S: Final = 10.0
_GATE_LIMIT: Final = 20_000
_SOURCES: Final = 4  # addresses that are remembered per channel; a fight has two sides
# A master that restarts takes its own slot; more than this, and two of them throw each other out. Two of the C SDK
# come 0.65 times per second, far below the limit.
_REPLACEMENTS: Final = Rate(0.1, 3)
log = logging.getLogger(__name__)


class _Gate:
    """The meters of one channel."""

    __slots__ = ("last_report", "master", "refused", "replaced", "replacements", "sources", "viewer")

    def __init__(self, limits: Limits, now: float) -> None:
        self.master = None if limits.master_connects is None else Meter.of(limits.master_connects, now)
        self.viewer = None if limits.viewer_connects is None else Meter.of(limits.viewer_connects, now)
        self.last_report = float("-inf")
        self.replacements = Meter.of(_REPLACEMENTS, now)
        self.refused = 0
        self.replaced = 0
        self.sources: list[str] = []  # where masters came from last, the newest at the end

    def note_source(self, source: str | None) -> None:
        if source is None:
            return
        if source in self.sources:
            self.sources.remove(source)
        self.sources = [*self.sources[1 - _SOURCES :], source]

    def meter(self, role: Role) -> Meter | None:
        return self.master if role is Role.MASTER else self.viewer

    def is_idle(self, now: float) -> bool:
        meters = (self.master, self.viewer, self.replacements)
        return now >= self.last_report + FIGHT_WINDOW_S and all(m is None or m.is_full(now) for m in meters)


class Gates:
    """The connect rates of all channels; a channel that was left alone for a while is forgotten."""

    def __init__(self, limits: Limits, gate_limit: int = _GATE_LIMIT) -> None:
        self._limits = limits
        self._gate_limit = gate_limit
        self._gates: OrderedDict[str, _Gate] = OrderedDict()  # least recently used first

    def __len__(self) -> int:
        return len(self._gates)

    def check(self, channel: str, role: Role, now: float) -> None:
        """Raise what `take` would raise now; takes nothing."""
        gate = self._gates.get(channel)
        meter = gate.meter(role) if gate is not None else None
        if meter is not None:
            self._refuse(role, meter.wait_s(now))

    def take(self, connect: Connect, now: float) -> None:
        """Count one connect.

        Raises: ClientLimitExceededException, which says after how many seconds the next one may pass.
        """
        channel = str(connect.channel.arn)
        gate = self._gates.get(channel)
        if gate is None:
            self._make_room(now)
            gate = self._gates[channel] = _Gate(self._limits, now)
        self._gates.move_to_end(channel)
        if connect.role is Role.MASTER:
            gate.note_source(connect.source)
        meter = gate.meter(connect.role)
        wait_s = 0.0 if meter is None else meter.take(now)
        if wait_s > 0.0 and connect.role is Role.MASTER:
            gate.refused += 1
            self._report(gate, connect, now)
        self._refuse(connect.role, wait_s)

    def give_back(self, connect: Connect) -> None:
        """Undo one take: the connect was refused for another reason."""
        gate = self._gates.get(str(connect.channel.arn))
        meter = gate.meter(connect.role) if gate is not None else None
        if meter is not None:
            meter.give_back()

    def tidy(self, now: float) -> None:
        """Forget the channels whose meters are full again, from the one that was left alone the longest."""
        while self._gates and self._gates[channel := next(iter(self._gates))].is_idle(now):
            del self._gates[channel]

    def note_replaced(self, connect: Connect, now: float) -> None:
        """Note that this connect took the slot of another connection."""
        gate = self._gates.get(str(connect.channel.arn))
        if gate is None or connect.role is not Role.MASTER:
            return
        gate.replaced += 1
        if gate.replacements.take(now) > 0.0:
            self._report(gate, connect, now)

    def _report(self, gate: _Gate, connect: Connect, now: float) -> None:
        if now < gate.last_report + FIGHT_WINDOW_S:
            return
        extra = {
            "channel": str(connect.channel.arn),
            "source": connect.source,
            "sources": list(gate.sources),
            "refused": gate.refused,
            "replaced": gate.replaced,
        }
        log.warning("masters compete for a channel", extra=extra)
        gate.refused, gate.replaced, gate.last_report = 0, 0, now

    def _refuse(self, role: Role, wait_s: float) -> None:
        if wait_s <= 0.0:
            return
        rate = self._limits.master_connects if role is Role.MASTER else self._limits.viewer_connects
        value = 0.0 if rate is None else rate.per_s
        name = f"{role.counted}_connects_per_second"
        raise ClientLimitExceededException(
            f"{name} is {value:g} for one channel; try again in {wait_s:.2f} s", Limit(name, value, wait_s)
        )

    def _make_room(self, now: float) -> None:
        if len(self._gates) >= self._gate_limit:
            self.tidy(now)
        while len(self._gates) >= self._gate_limit:  # all are in use: the one longest unused gives way
            self._gates.popitem(last=False)


def channel_is_full(limits: Limits) -> ClientLimitExceededException:
    """The error for one viewer too many (KVS API: ConnectAsViewer); only somebody's leaving helps."""
    value = limits.viewers_per_channel
    return ClientLimitExceededException(
        f"the channel has {value} viewers, the limit viewers_per_channel", Limit("viewers_per_channel", value)
    )
