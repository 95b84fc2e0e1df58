"""The rules of held mail against a plain list."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from channels.signaling.limits import Limits
from channels.signaling.mailbox import HeldMail, Mail
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address
from tests.channels.signaling.test_mailbox import CANDIDATE, V1, V2, ids, mail


class MailboxModel(RuleBasedStateMachine):
    """Against a plain list: what is taken comes once, in order, in time, the newest offer of each sender only."""

    def __init__(self) -> None:
        super().__init__()
        self.box = HeldMail(Limits(held_messages_per_pair=5, held_messages_per_channel=12))
        self.model: list[tuple[float, Mail]] = []
        self.now = 0.0
        self.next_id = 0

    @rule(
        action=st.sampled_from(Action),
        sender=st.sampled_from([V1, V2, MASTER]),
        to=st.sampled_from([MASTER, V1]),
        ttl_s=st.integers(5, 20),
    )
    def hold(self, action: Action, sender: Address, to: Address, ttl_s: int) -> None:
        self.next_id += 1
        new = mail(str(self.next_id), action, sender, to, ttl_s=ttl_s)
        if self.box.hold(new, self.now, is_expected=True) is None:
            if action is not CANDIDATE:
                same = (sender, to, action)
                self.model = [
                    entry for entry in self.model if (entry[1].sender, entry[1].recipient, entry[1].action) != same
                ]
            self.model.append((self.now + ttl_s, new))

    @rule(to=st.sampled_from([MASTER, V1]))
    def take(self, to: Address) -> None:
        wanted = [entry[1].id for entry in self.model if entry[1].recipient == to and entry[0] > self.now]

        assert ids(self.box.take("demo", to, self.now)) == wanted
        self.model = [entry for entry in self.model if entry[1].id not in wanted]

    @rule(seconds=st.integers(1, 8))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        if self.model:
            until, chosen = data.draw(st.sampled_from(self.model))
            if self.box.withdraw(chosen, self.now):
                self.model.remove((until, chosen))
            else:
                assert until <= self.now, "only what is over may be gone"

    @invariant()
    def bounds_hold(self) -> None:
        alive = [entry for entry in self.model if entry[0] > self.now]
        assert len(alive) <= len(self.box) <= 12


TestMailboxModel = MailboxModel.TestCase
TestMailboxModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
