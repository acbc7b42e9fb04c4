"""An HTTP/2 client on Debian's python3-h2, which checks every frame of the server against RFC 9113 by itself.

Usage: h2_client.py PORT. Prints one JSON object: what came of each exchange. Any breach of the protocol ends it with a traceback.
"""
import json
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
from hpack import NeverIndexedHeaderTuple

PORT = int(sys.argv[1])


class Client:
    def __init__(self, settings=None):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", PORT), timeout=20))
        assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings(settings)
        self.streams = {}
        self.events = []
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def read(self):
        received = self.socket.recv(65536)
        if not received:
            raise EOFError("the server closed the connection")
        for event in self.h2.receive_data(received):
            self.events.append(event)
            stream = self.streams.get(getattr(event, "stream_id", None))
            if isinstance(event, h2.events.ResponseReceived):
                stream["status"] = dict(event.headers)[":status"]
                stream["headers"] = dict(event.headers)
            elif isinstance(event, h2.events.InformationalResponseReceived):
                stream["informational"] = dict(event.headers)[":status"]
            elif isinstance(event, h2.events.DataReceived):
                stream["body"] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                stream["ended"] = True
            elif isinstance(event, h2.events.StreamReset):
                stream["reset"] = int(event.error_code)
            elif isinstance(event, h2.events.ConnectionTerminated):
                raise EOFError("GOAWAY %s" % event.error_code)
        self.flush()

    def until(self, condition):
        while not condition():
            self.read()

    def open(self, method, path, fields=(), end_stream=True, **priority):
        stream_id = self.h2.get_next_available_stream_id()
        self.streams[stream_id] = {"body": b"", "ended": False}
        self.h2.send_headers(
            stream_id,
            [(":method", method), (":scheme", "https"), (":authority", "127.0.0.1"), (":path", path), *fields],
            end_stream=end_stream,
            **priority,
        )
        self.flush()
        return stream_id

    def send(self, stream_id, body, padding=None, end_stream=True):
        overhead = 0 if padding is None else padding + 1
        while body:
            self.until(lambda: self.h2.local_flow_control_window(stream_id) > overhead)
            size = min(
                len(body),
                self.h2.local_flow_control_window(stream_id) - overhead,
                self.h2.max_outbound_frame_size - overhead,
            )
            self.h2.send_data(stream_id, body[:size], pad_length=padding)
            self.flush()
            body = body[size:]
        if end_stream:
            self.h2.end_stream(stream_id)
            self.flush()

    def finish(self, stream_id):
        stream = self.streams[stream_id]
        self.until(lambda: stream["ended"] or "reset" in stream)
        return stream


def main():
    results = {}
    client = Client()

    results["get"] = client.finish(client.open("GET", "/hello"))["body"].decode()
    head = client.finish(client.open("HEAD", "/big"))
    results["head"] = [head["status"], head["headers"]["content-length"], len(head["body"])]
    results["big"] = len(client.finish(client.open("GET", "/big"))["body"])

    body = bytes(range(256)) * 4000
    post = client.open("POST", "/echo", [("content-length", str(len(body)))], end_stream=False)
    client.send(post, body)
    results["post"] = client.finish(post)["body"] == body

    padded = client.open("POST", "/echo", end_stream=False)
    client.send(padded, b"padded" * 1000, padding=100)
    results["padded"] = client.finish(padded)["body"] == b"padded" * 1000

    trailers = client.open("POST", "/echo", end_stream=False)
    client.send(trailers, b"before", end_stream=False)
    client.h2.send_headers(trailers, [("x-trailer", "after")], end_stream=True)
    client.flush()
    results["trailers"] = client.finish(trailers)["body"].decode()

    waiting = client.open("POST", "/echo", [("expect", "100-continue")], end_stream=False)
    client.until(lambda: "informational" in client.streams[waiting])
    client.send(waiting, b"wanted")
    results["continue"] = [client.streams[waiting]["informational"], client.finish(waiting)["body"].decode()]

    many = [client.open("GET", "/hello", priority_weight=1 + i, priority_depends_on=0) for i in range(50)]
    results["many"] = sum(client.finish(one)["body"] == b"hello" for one in many)

    secret = client.open("GET", "/fields", [NeverIndexedHeaderTuple("authorization", "secret"), ("x-long", "y" * 9000)])
    fields = json.loads(client.finish(secret)["body"])
    results["fields"] = [fields["authorization"], len(fields["x-long"]), fields["host"]]

    given_up = client.open("GET", "/hold")
    client.h2.reset_stream(given_up)
    client.h2.ping(b"12345678")
    client.flush()
    client.until(lambda: any(isinstance(event, h2.events.PingAckReceived) for event in client.events))
    results["after reset"] = client.finish(client.open("GET", "/hello"))["status"]

    client.h2.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0})
    client.flush()
    client.until(lambda: any(isinstance(event, h2.events.SettingsAcknowledged) for event in client.events))
    results["without a table"] = client.finish(client.open("GET", "/hello"))["status"]
    client.h2.close_connection()
    client.flush()

    slow = Client({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
    results["small windows"] = len(slow.finish(slow.open("GET", "/medium"))["body"])
    print(json.dumps(results))


main()
