"""The yardstick in C: one payloader and GStreamer's webrtcbin for each viewer; signaling as in `_pipe.py`.

Run by Debian's own Python, which has python3-gi: `/usr/bin/python3 _webrtcbin.py FILE`. The viewers' offers must be the
same but for their keys. Its certificate is an RSA one; NACK and RTX are on, as far as webrtcbin has them.
"""

import base64
import json
import os
import re
import sys
import threading
from typing import Any

import gi

for name in ("Gst", "GstSdp", "GstWebRTC"):
    gi.require_version(name, "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402  # after their versions are chosen

GATHERED = GstWebRTC.WebRTCICEGatheringState.COMPLETE  # looked up once: the callbacks come from many threads
SOURCE = (
    'filesrc location="{path}" ! qtdemux ! h264parse config-interval=-1 ! clocksync '
    "! rtph264pay name=pay aggregate-mode=zero-latency mtu=1200 pt={payload_type} "
    "! tee name=tee allow-not-linked=true"
)


def write(type: str, client_id: str, payload: object) -> None:
    text = base64.b64encode(json.dumps(payload).encode()).decode()
    sys.stdout.write(json.dumps({"type": type, "client_id": client_id, "payload": text}) + "\n")
    sys.stdout.flush()


class Viewer:
    """One webrtcbin behind the tee."""

    def __init__(self, sender: "Sender", client_id: str, offer: str) -> None:
        self.client_id = client_id
        self.candidates: list[str] = []
        self.bin = Gst.ElementFactory.make("webrtcbin", client_id)
        self.bin.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.ice = self.bin.get_property("ice-agent")  # kept: it is freed with what Python has of it
        self.agent = self.ice.get_property("agent")
        self.agent.set_property("upnp", False)  # it would look for a router
        self.bin.connect("on-ice-candidate", lambda _, index, text: self.candidates.append(text))
        self.bin.connect("notify::ice-gathering-state", self.gathered)
        queue = Gst.ElementFactory.make("queue", None)
        queue.set_property("leaky", 2)  # the oldest go: a viewer that connects does not hold up the others
        sender.pipeline.add(self.bin)
        sender.pipeline.add(queue)
        caps = Gst.Caps.from_string(sender.caps)
        sink = self.bin.request_pad(self.bin.get_pad_template("sink_%u"), None, caps)
        queue.get_static_pad("src").link(sink)
        transceiver = self.bin.emit("get-transceiver", 0)
        transceiver.set_property("do-nack", True)
        transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        self.bin.sync_state_with_parent()
        queue.sync_state_with_parent()
        sender.tee.link(queue)  # last: a tee stops for all at a queue that does not run
        _, message = GstSdp.SDPMessage.new_from_text(offer)
        described = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.OFFER, message)
        self.bin.emit("set-remote-description", described, Gst.Promise.new_with_change_func(self.offered))

    def offered(self, promise: Any) -> None:
        self.bin.emit("create-answer", None, Gst.Promise.new_with_change_func(self.created))

    def created(self, promise: Any) -> None:
        reply = promise.get_reply()  # the answer lives as long as this
        answer = reply.get_value("answer")
        self.bin.emit("set-local-description", answer, Gst.Promise.new())

    def gathered(self, *_: object) -> None:
        if self.bin.get_property("ice-gathering-state") == GATHERED:
            sdp = self.bin.get_property("local-description").sdp.as_text()
            sdp += "".join(f"a={text}\r\n" for text in self.candidates if text not in sdp)
            write("SDP_ANSWER", self.client_id, {"type": "answer", "sdp": sdp})


class Sender:
    """The file, played once by its own clock from the first offer on."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.pipeline: Any = None

    def offered(self, client_id: str, offer: str) -> None:
        if self.pipeline is None:
            self.start(offer)
        Viewer(self, client_id, offer)

    def start(self, offer: str) -> None:
        payload_type = re.search(r"a=fmtp:(\d+) .*profile-level-id=42e01f", offer)[
            1
        ]  # as the payloader says of the file
        self.caps = f"application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload={payload_type}"
        source = SOURCE.format(path=self._path, payload_type=payload_type)
        self.pipeline = Gst.parse_launch(source)
        self.tee = self.pipeline.get_by_name("tee")
        self.pipeline.get_bus().add_signal_watch()
        self.pipeline.get_bus().connect(
            "message::error", lambda _, message: print(message.parse_error(), file=sys.stderr)
        )
        self.pipeline.get_bus().connect("message::latency", lambda *_: self.pipeline.recalculate_latency())
        self.pipeline.set_state(Gst.State.PLAYING)  # a webrtcbin that does not run refuses offers
        self.pipeline.get_state(Gst.CLOCK_TIME_NONE)  # one that joins on the way there would be waited for, for ever


def listen(sender: Sender) -> None:
    for text in sys.stdin:
        line = json.loads(text)
        if line["type"] == "SDP_OFFER":
            offer = json.loads(base64.b64decode(line["payload"]))["sdp"]
            GLib.idle_add(sender.offered, line["client_id"], offer)
    os._exit(0)  # the benchmark is gone or done: nothing here is worth an orderly end


if __name__ == "__main__":
    Gst.init(None)
    threading.Thread(target=listen, args=(Sender(sys.argv[1]),), daemon=True).start()
    GLib.MainLoop().run()
