"""A small RTSP camera on loopback: H.264 and Opus, over TCP and UDP, with a password, and it can fall silent or die."""

import contextlib
import hashlib
import itertools
import secrets
import socket
import struct
import threading
import time
from types import TracebackType

import av
import msgspec

from media.encoders.encoder import Capture, EncoderSettings
from media.encoders.opus import OpusEncoder
from media.h264 import kind, nal_units
from media.rtp import packetize
from media.sources.pattern import PatternSource
from tests.media.pictures import captures
from tests.media.sources.clips import silence

USER, PASSWORD = "admin", "hunter2"
REALM = "camera"


class Camera:
    """Serves one client at a time; pictures of 160x90 at 25 per second with a key frame each `gop`.

    `auth` is None, "Basic" or "Digest". With `is_bare` the parameter sets stand in the SDP alone. One RTP packet of
    `loses_each` is lost. Use it as a context manager. Sound comes in Opus packets of `opus_ms`, 20 or 40.
    """

    def __init__(
        self,
        *,
        profile: str = "baseline",
        gop: int = 5,
        auth: str | None = None,
        has_audio: bool = False,
        is_bare: bool = False,
        port: int = 0,
        loses_each: int = 0,
        opus_ms: int = 20,
    ) -> None:
        self.units = _encoded(profile, gop)
        self._auth = auth
        self._has_audio = has_audio
        self._is_bare = is_bare
        self._loses_each = loses_each
        self._opus_ms = opus_ms
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.requests: list[str] = []
        self.is_silent = threading.Event()
        self.goodbye = threading.Event()
        self._stop = threading.Event()
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="camera", daemon=True)

    def url(self, credentials: str = "", query: str = "") -> str:
        return f"rtsp://{credentials}127.0.0.1:{self.port}/live{query}"

    def __enter__(self) -> "Camera":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.die()

    def die(self) -> None:
        """Cut the power."""
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
        self._thread.join(15)

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                self._client, _ = self._listener.accept()
            except OSError:
                return
            with self._client, contextlib.suppress(OSError, ValueError):
                _Session(self, self._client).run()


class _Session:
    def __init__(self, camera: Camera, client: socket.socket) -> None:
        self._camera = camera
        self._client = client
        self._file = client.makefile("rb")
        self._nonce = secrets.token_hex(8)
        self._udp: dict[int, tuple[socket.socket, tuple[str, int]]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()

    def run(self) -> None:
        playing = threading.Thread(target=self._play, daemon=True)
        try:
            while (request := self._request()) is not None:
                if self._answer(*request) == "PLAY":
                    playing.start()
        finally:
            self._over.set()
            if playing.is_alive():
                playing.join(15)
            for own, _ in self._udp.values():
                own.close()

    def _request(self) -> tuple[str, str, dict[str, str]] | None:
        first = self._file.read(1)
        while first == b"$":  # the client's RTCP
            self._file.read(int.from_bytes(self._file.read(3)[1:], "big"))
            first = self._file.read(1)
        if not first:
            return None
        lines = [first + self._file.readline()]
        while (line := self._file.readline()).strip():
            lines.append(line)
        method, url, _ = lines[0].decode().split(maxsplit=2)
        headers = dict(line.decode().strip().split(": ", 1) for line in lines[1:])
        self._camera.requests.append(method)
        if method == "TEARDOWN":
            self._camera.goodbye.set()
        return method, url, headers

    def _answer(self, method: str, url: str, headers: dict[str, str]) -> str:
        more, body, status = "", "", "200 OK"
        if method != "OPTIONS" and not self._is_allowed(method, headers.get("Authorization", "")):
            challenge = f'{self._camera._auth} realm="{REALM}"'
            if self._camera._auth == "Digest":
                challenge += f', nonce="{self._nonce}"'
            status, more, method = "401 Unauthorized", f"WWW-Authenticate: {challenge}\r\n", ""
        elif method == "DESCRIBE" and "/live" not in url:
            status = "404 Not Found"
        elif method == "DESCRIBE":
            body = _sdp(self._camera.units[0], self._camera._has_audio)
            more = f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\n"
        elif method == "SETUP":
            more = self._set_up(url, headers["Transport"])
        head = (
            f"RTSP/1.0 {status}\r\nCSeq: {headers['CSeq']}\r\nSession: 7\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        )
        with self._lock:
            self._client.sendall((head + body).encode())
        return method

    def _is_allowed(self, method: str, given: str) -> bool:
        if self._camera._auth is None:
            return True
        if self._camera._auth == "Basic":
            return given == "Basic YWRtaW46aHVudGVyMg=="
        fields = dict(part.strip().split("=", 1) for part in given.removeprefix("Digest").split(",") if "=" in part)
        values = {name: value.strip('"') for name, value in fields.items()}

        def md5(*parts: str) -> str:
            return hashlib.md5(":".join(parts).encode()).hexdigest()

        first, second = md5(USER, REALM, PASSWORD), md5(method, values.get("uri", ""))
        return values.get("response") == md5(first, self._nonce, second)

    def _set_up(self, url: str, transport: str) -> str:
        track = int(url[-1])
        if "interleaved" in transport:
            return f"Transport: RTP/AVP/TCP;unicast;interleaved={2 * track}-{2 * track + 1}\r\n"
        ports = transport.split("client_port=")[1].split(";")[0]
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own.bind(("127.0.0.1", 0))
        self._udp[track] = own, ("127.0.0.1", int(ports.split("-")[0]))
        mine = own.getsockname()[1]
        return f"Transport: RTP/AVP;unicast;client_port={ports};server_port={mine}-{mine + 1}\r\n"

    def _play(self) -> None:
        sequence = [itertools.count(), itertools.count()]
        opus = OpusEncoder(EncoderSettings())
        sounds = itertools.count()
        start = time.monotonic()
        with contextlib.suppress(OSError):
            for number in itertools.count():
                wait_s = max(start + 0.04 * (number + 1) - time.monotonic(), 0)
                if self._over.wait(wait_s) or self._camera._stop.is_set():
                    return
                if self._camera.is_silent.is_set():
                    continue
                unit = self._camera.units[number % len(self._camera.units)]
                if self._camera._is_bare:
                    unit = b"".join(b"\0\0\0\1" + each for each in nal_units(unit) if kind(each) not in (7, 8))
                self._send(0, sequence[0], packetize.h264(unit), number * 3600)
                heard = []
                for _ in range(2 * self._camera._has_audio):
                    pts = 960 * next(sounds)
                    heard += opus.encode(Capture(silence(pts), pts, 0.0), False)
                if heard and self._camera._opus_ms == 40:
                    heard = [msgspec.structs.replace(heard[0], data=_joined(*(unit.data for unit in heard)))]
                for unit_of_sound in heard:
                    self._send(1, sequence[1], (unit_of_sound.data,), unit_of_sound.timestamp)

    def _send(self, track: int, sequence: "itertools.count[int]", payloads: tuple[bytes, ...], timestamp: int) -> None:
        for index, payload in enumerate(payloads):
            marker = 0x80 if index == len(payloads) - 1 else 0
            number = next(sequence) & 0xFFFF
            if self._camera._loses_each and number % self._camera._loses_each == 1:
                continue
            head = struct.pack("!BBHII", 0x80, marker | 96 + track, number, timestamp, 77 + track)
            if track in self._udp:
                own, peer = self._udp[track]
                own.sendto(head + payload, peer)
                continue
            with self._lock:
                self._client.sendall(struct.pack("!cBH", b"$", 2 * track, 12 + len(payload)) + head + payload)


def _encoded(profile: str, gop: int) -> list[bytes]:
    """Two groups of pictures of the test pattern."""
    source = PatternSource(160, 90, 25.0)
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 160, 90, "yuv420p"
    context.gop_size = gop
    context.options = {
        "profile": profile,
        "preset": "veryfast",
        "tune": "zerolatency",
        "x264-params": "repeat-headers=1",
    }
    units = []
    for capture in captures(source, 2 * gop):
        capture.frame.pts = capture.timestamp
        units += [bytes(packet) for packet in context.encode(capture.frame)]
    return units


def _sdp(first: bytes, has_audio: bool) -> str:
    from base64 import b64encode

    sets = ",".join(b64encode(unit).decode() for unit in nal_units(first) if kind(unit) in (7, 8))
    lines = [
        "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=camera", "t=0 0", "a=control:*",
        "m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000",
        f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}", "a=control:track0",
    ]  # fmt: skip
    if has_audio:
        lines += ["m=audio 0 RTP/AVP 97", "a=rtpmap:97 opus/48000/2", "a=control:track1"]
    return "".join(f"{line}\r\n" for line in lines)


def _joined(first: bytes, second: bytes) -> bytes:
    """Two Opus packets of one frame each as one of two (RFC 6716, 3.2.4)."""
    assert first[0] == second[0]
    assert first[0] & 3 == 0
    return bytes((first[0] | 2, len(first) - 1)) + first[1:] + second[1:]
