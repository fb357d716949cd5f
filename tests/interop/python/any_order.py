"""Python's h2 as a CONNECT client that sends legal frames in an order drawn from a seed.

any_order.py <proxy ip> <cert> <key> <root> <authority> <seed> <streams> <octets per stream>

Several tunnels to an echo server at once, over one connection. Headers and data are made by h2, hpack and
hyperframe; between them go PING, PRIORITY, unknown frames, padding of every size, empty DATA, new SETTINGS
and window updates of one octet. DATA starts before the answer. Prints one line of JSON with both hashes of
each tunnel.
"""
import hashlib
import json
import random
import socket
import ssl
import struct
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
import hyperframe.frame as frames

ip, cert, key, root, authority, seed, stream_count, octets = sys.argv[1:9]
draw = random.Random(int(seed))
octets = int(octets)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.check_hostname = False
context.load_verify_locations(root)
context.load_cert_chain(cert, key)
context.set_alpn_protocols(["h2"])
transport = context.wrap_socket(socket.create_connection((ip, 15008)))
assert transport.selected_alpn_protocol() == "h2"
transport.settimeout(20)

config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
connection = h2.connection.H2Connection(config)
connection.local_settings = h2.settings.Settings(
    client=True,
    initial_values={
        h2.settings.SettingCodes.ENABLE_PUSH: 0,
        h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 70_001,
        h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0,
    },
)
connection.initiate_connection()


class Tunnel:
    def __init__(self):
        self.id = connection.get_next_available_stream_id()
        headers = [(":method", "CONNECT"), (":authority", authority)]
        if draw.random() < 0.3:
            # More than a frame holds, so that CONTINUATION frames follow.
            headers.append(("x-filler", "f" * draw.randrange(20_000, 30_000)))
        connection.send_headers(self.id, headers)
        self.left = octets
        self.sent = hashlib.sha256()
        self.received = hashlib.sha256()
        self.bytes_received = 0
        self.status = None
        self.ended = False

    def send_some(self):
        """One DATA frame of a random size and padding, within both windows; the last one ends the stream."""
        window = connection.local_flow_control_window(self.id)
        padding = draw.choice([None, 0, 1, draw.randrange(256)])
        overhead = 0 if padding is None else padding + 1
        room = min(window, connection.max_outbound_frame_size) - overhead
        if room < 0:
            return
        size = min(self.left, room, draw.choice([0, 1, draw.randrange(300), draw.randrange(60_000)]))
        data = draw.randbytes(size)
        self.sent.update(data)
        self.left -= size
        connection.send_data(self.id, data, pad_length=padding)
        if self.left == 0:
            if draw.random() < 0.3:
                connection.send_headers(self.id, [("x-trailer", "ignored")], end_stream=True)
            else:
                connection.end_stream(self.id)


def raw(frame):
    """Puts a frame between those of h2, which keeps its own in order."""
    transport.sendall(connection.data_to_send() + frame)


def noise(tunnels):
    kind = draw.randrange(6)
    stream_id = draw.choice(tunnels).id
    if kind == 0:
        connection.ping(draw.randbytes(8))
    elif kind == 1:
        priority = frames.PriorityFrame(stream_id, depends_on=0, stream_weight=draw.randrange(256))
        raw(priority.serialize())
    elif kind == 2:
        # A type nobody knows, on a stream or on the connection, with any flags (RFC 9113 section 5.5).
        body = draw.randbytes(draw.randrange(400))
        unknown = struct.pack(">I", len(body))[1:] + bytes([0xF0, draw.randrange(256)])
        raw(unknown + struct.pack(">I", draw.choice([0, stream_id])) + body)
    elif kind == 3:
        connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: draw.randrange(60_000, 90_000)})
    elif kind == 4:
        connection.increment_flow_control_window(1)
    elif kind == 5:
        # An unknown setting is ignored (RFC 9113 section 6.5.2).
        setting = frames.SettingsFrame(0, settings={0x0F1F: draw.randrange(1 << 32)})
        raw(setting.serialize())


tunnels = [Tunnel() for _ in range(int(stream_count))]
by_id = {tunnel.id: tunnel for tunnel in tunnels}


def take(data):
    for event in connection.receive_data(data):
        if isinstance(event, h2.events.ResponseReceived):
            by_id[event.stream_id].status = dict(event.headers)[":status"]
        elif isinstance(event, h2.events.DataReceived):
            tunnel = by_id[event.stream_id]
            tunnel.received.update(event.data)
            tunnel.bytes_received += len(event.data)
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            by_id[event.stream_id].ended = True
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            raise SystemExit(f"the proxy ended it: {event}")


while not all(tunnel.ended for tunnel in tunnels):
    sending = [tunnel for tunnel in tunnels if tunnel.left > 0]
    for tunnel in draw.sample(sending, len(sending)):
        if draw.random() < 0.8:
            tunnel.send_some()
        open_tunnels = [each for each in tunnels if each.left > 0]
        if open_tunnels and draw.random() < 0.1:
            noise(open_tunnels)
    transport.sendall(connection.data_to_send())
    transport.settimeout(0.001 if sending else 20)
    try:
        data = transport.recv(draw.choice([1, 9, 100, 70_000]))
        if not data:
            raise SystemExit("the proxy closed the connection")
        take(data)
        transport.sendall(connection.data_to_send())
    except (TimeoutError, ssl.SSLWantReadError):
        if not sending:
            raise SystemExit("nothing came for 20 s")
    transport.settimeout(20)

print(
    json.dumps(
        [
            {
                "status": tunnel.status,
                "bytesReceived": tunnel.bytes_received,
                "sent": tunnel.sent.hexdigest(),
                "received": tunnel.received.hexdigest(),
            }
            for tunnel in tunnels
        ]
    )
)
