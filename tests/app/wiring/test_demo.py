from app.listen import listen
from app.wiring import demo
from app.wiring.listeners import Listeners


def test_the_ready_line_says_where_the_picture_is() -> None:
    with listen("127.0.0.1", 0, "http_port") as http, listen("127.0.0.1", 0, "ops_port") as ops:
        line = demo._ready_line(Listeners(http, ops), "turn:127.0.0.1:3478?transport=udp", "arn", "text")
        url = f"http://127.0.0.1:{http.getsockname()[1]}"
    assert line["viewer_url"] == f"{url}/viewer#channel=demo&token=text"
    assert (line["http"], line["turn"]) == (url, "turn:127.0.0.1:3478?transport=udp")
