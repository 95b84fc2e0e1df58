import msgspec
import pytest

from app.exits import Exit
from app.report import Ready, Refusal, Report


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (Report(ready=Ready()), b'{"ready":{}}'),
        (Report(ready=Ready(("turn:h:1",))), b'{"ready":{"uris":["turn:h:1"]}}'),
        (Report(ready=Ready(pid=7, slot=0, http="http://h")), b'{"ready":{"pid":7,"slot":0,"http":"http://h"}}'),
        (Report(stats={}), b'{"stats":{}}'),
        (Report(refused=Refusal("taken", Exit.USAGE)), b'{"refused":{"message":"taken","exit_code":2}}'),
    ],
)
def test_a_report_holds_what_is_said_and_no_more(report: Report, line: bytes) -> None:
    assert msgspec.json.encode(report) == line
    assert msgspec.json.decode(line, type=Report) == report
