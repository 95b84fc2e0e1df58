"""Numbered messages in both directions, and what became of each: delivered once and in order, or answered."""

from channels.names import Role
from channels.signaling.hub import Hub
from channels.signaling.members import Connect, Member
from tests.channels.signaling.rig import Recorder, channel, frame_of


class Party:
    """One client, which may be connected again and again; it keeps what it was sent over all its connections."""

    def __init__(self, ledger: "Ledger", client_id: str) -> None:
        self.ledger = ledger
        self.client_id = client_id
        self.recorders: list[Recorder] = []
        self.past: list[tuple[Hub, Member]] = []
        self.member: Member | None = None
        self.hub: Hub | None = None
        self.said: dict[str, tuple[str, str]] = {}  # number -> to whom, over which connection

    async def connect(self, hub: Hub) -> Recorder:
        recorder = Recorder()
        role = Role.VIEWER if self.client_id else Role.MASTER
        self.member = await hub.connect(Connect(channel(), role, self.client_id), recorder)
        self.hub = hub
        self.past.append((hub, self.member))
        self.recorders.append(recorder)
        return recorder

    def say(self, to: str) -> None:
        """One numbered candidate with a correlation id."""
        assert self.hub is not None
        assert self.member is not None
        self.ledger.number += 1
        number = f"{self.ledger.number:08}"
        self.said[number] = (to, self.member.id)
        self.hub.receive(self.member, frame_of(number, recipientClientId=to, correlationId=number))

    @property
    def heard(self) -> list[str]:
        return [payload for recorder in self.recorders for payload in recorder.payloads]

    @property
    def answered(self) -> set[str]:
        return {status["correlationId"] for recorder in self.recorders for status in recorder.statuses}


class Ledger:
    """A master and some viewers, who talk to it and are talked to."""

    def __init__(self, *viewers: str) -> None:
        self.number = 0
        self.master = Party(self, "")
        self.viewers = {name: Party(self, name) for name in viewers}

    @property
    def parties(self) -> dict[str, Party]:
        return {"": self.master, **self.viewers}

    def talk(self) -> None:
        """Everybody says one thing."""
        for name, viewer in self.viewers.items():
            viewer.say("")
            self.master.say(name)

    def unaccounted(self) -> list[str]:
        """What was neither delivered nor answered, of those who are still there to be answered."""
        missing = []
        for sender in self.parties.values():
            for number, (to, connection_id) in sender.said.items():
                is_there = sender.member is not None and sender.member.id == connection_id
                if is_there and number not in self.parties[to].heard and number not in sender.answered:
                    missing.append(number)
        return missing

    def check(self) -> None:
        """Each message came once at most, from one connection to another in order; none is unaccounted for."""
        for name, receiver in self.parties.items():
            assert len(receiver.heard) == len(set(receiver.heard)), f"twice to {name!r}"
            for recorder in receiver.recorders:
                heard: dict[str, list[str]] = {}
                for number in recorder.payloads:
                    to, connection_id = next(p.said[number] for p in self.parties.values() if number in p.said)
                    assert to == name
                    heard.setdefault(connection_id, []).append(number)
                for connection_id, numbers in heard.items():
                    assert numbers == sorted(numbers), f"{connection_id} to {name!r}: out of order: {numbers}"
        assert self.unaccounted() == []

    @property
    def delivered(self) -> int:
        return sum(len(set(party.heard)) for party in self.parties.values())
