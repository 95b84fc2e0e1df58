"""A node with everything in memory: fresh secrets, and a token that may do everything for half a day."""

import secrets
import time

import msgspec

from app.cli_token import token_settings
from app.settings import Settings
from app.wiring.node import NodeOrder
from channels.auth import token
from channels.embedded import store

TOKEN_LIFETIME_S = 12 * 3600.0


class InMemory(msgspec.Struct, frozen=True):
    """What such a node is made of, and the token for those who call it."""

    order: NodeOrder
    token: str

    def __repr__(self) -> str:
        return f"InMemory({self.order!r})"


def in_memory(settings: Settings, subject: str) -> InMemory:
    """Return a node's order with keys that nobody had before; `subject` is who the token speaks for."""
    key = token.new_es256_key()
    text = token.mint(
        key,
        token_settings(settings),
        subject=subject,
        actions=["kvs:*"],
        channels=["*"],
        now_wall=time.time(),
        lifetime_s=TOKEN_LIFETIME_S,
    )
    return InMemory(NodeOrder(settings, store.MEMORY, (key,), (secrets.token_hex(32).encode(),)), text)
