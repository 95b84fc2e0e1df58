import subprocess
import sys

from app.settings import Settings
from app.wiring.coturn import CoturnServer
from app.wiring.orders import TurnOrder
from app.wiring.turn import TurnServer
from app.wiring.turn_engine import engine


def test_the_settings_choose_what_relays() -> None:
    for name, kind in (("builtin", TurnServer), ("coturn", CoturnServer)):
        made = engine(TurnOrder(Settings(turn_engine=name), ("s" * 64,)), print)
        assert type(made) is kind
        made.hurry()  # what does not run yet is in no hurry


def test_our_own_server_loads_nothing_of_coturn() -> None:
    program = "import sys, app.wiring.turn_engine; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout
    assert not {"app.wiring.coturn", "media.coturn.coturn"} & set(loaded.split())
