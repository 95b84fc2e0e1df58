"""What a stream got of the JSON log."""

import io
import json
from typing import Any


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return each line, decoded."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]
