"""The applications of a pod: runs in its network namespace, obeys JSON lines on stdin, answers on stdout.

Started by pod.ts. Ends when stdin does, and the namespace with it. Only Python's standard library.
Every command runs in a thread of its own, so that a slow one delays nobody.
"""

import errno
import hashlib
import http.client
import json
import os
import socket
import struct
import sys
import threading

CHUNK = 65536
IP_TRANSPARENT = 19
SO_ORIGINAL_DST = 80
# No test waits longer than this for one connection.
PATIENCE_SECONDS = 30.0


def family_of(ip):
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def error_name(error):
    if isinstance(error, TimeoutError):
        return "TIMEOUT"
    return errno.errorcode.get(error.errno, str(error))


def abort(connection):
    """Closes with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def address_text(address):
    ip, port = address[0], address[1]
    if ip.startswith("::ffff:"):
        ip = ip[7:]
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def original_destination(connection):
    """Where the peer wanted to go: by the kernel's address translation, else by the socket itself."""
    try:
        text = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        return socket.inet_ntop(socket.AF_INET, text[4:8]), struct.unpack_from(">H", text, 2)[0]
    except OSError:
        pass
    try:
        text = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        return socket.inet_ntop(socket.AF_INET6, text[8:24]), struct.unpack_from(">H", text, 2)[0]
    except OSError:
        return connection.getsockname()


class Server:
    """Listens, and remembers who came and how it ended."""

    def __init__(self, ip, port, mode, transparent, backlog=512):
        self.mode = mode
        self.connections = []
        self.listener = socket.socket(family_of(ip), socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if transparent:
            self.listener.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        self.listener.bind((ip, port))
        self.listener.listen(backlog)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, peer = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            record = {
                "peer": address_text(peer),
                "local": address_text(connection.getsockname()),
                "received": 0,
                "sha256": None,
                "end": None,
            }
            self.connections.append(record)
            threading.Thread(target=self.serve, args=(connection, record), daemon=True).start()

    def serve(self, connection, record):
        digest = hashlib.sha256()
        try:
            if self.mode == "greet":
                connection.sendall(b"hello\n")
            if self.mode == "original":
                connection.sendall(address_text(original_destination(connection)).encode())
            while True:
                data = connection.recv(CHUNK)
                if not data:
                    break
                record["received"] += len(data)
                digest.update(data)
                if self.mode == "reset":
                    record["end"] = "reset by us"
                    abort(connection)
                    return
                if self.mode != "digest":
                    connection.sendall(data)
            # Whoever asks after the end must find the digest.
            record["sha256"] = digest.hexdigest()
            record["end"] = "fin"
            if self.mode == "digest":
                connection.sendall(digest.hexdigest().encode())
            connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            record["end"] = error_name(error)
        finally:
            connection.close()


class Applications:
    def __init__(self):
        self.servers = {}
        self.held = {}
        self.printing = threading.Lock()

    def serve(self, ip, port=0, mode="echo", transparent=False):
        server = Server(ip, port, mode, transparent)
        self.servers[server.port] = server
        return {"port": server.port}

    def connections(self, port):
        return {"connections": self.servers[port].connections}

    def stop_serving(self, port):
        # Closing alone would leave the listener to the thread that waits in accept.
        self.servers[port].listener.shutdown(socket.SHUT_RDWR)
        self.servers[port].listener.close()
        return {}

    def exchange(self, ip, port, bytes=0, head="", half_close=True):
        """Sends `head` and random octets while it reads; everything that can be known about how it went."""
        outcome = {
            "connected": False,
            "error": None,
            "sent": 0,
            "received": 0,
            "sentSha256": None,
            "receivedSha256": None,
            "text": "",
            "local": None,
        }
        connection = socket.socket(family_of(ip), socket.SOCK_STREAM)
        connection.settimeout(PATIENCE_SECONDS)

        def send():
            digest = hashlib.sha256()
            try:
                for data in payload(head, bytes):
                    digest.update(data)
                    connection.sendall(data)
                    outcome["sent"] += len(data)
                outcome["sentSha256"] = digest.hexdigest()
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # Reading sees it too, and says so.

        sending = threading.Thread(target=send, daemon=True)
        try:
            connection.connect((ip, port))
            outcome["connected"] = True
            outcome["local"] = address_text(connection.getsockname())
            sending.start()
            digest = hashlib.sha256()
            while data := connection.recv(CHUNK):
                outcome["text"] += data[: 200 - len(outcome["text"])].decode("latin1")
                outcome["received"] += len(data)
                digest.update(data)
            outcome["receivedSha256"] = digest.hexdigest()
            sending.join(PATIENCE_SECONDS)
        except OSError as error:
            outcome["error"] = error_name(error)
        finally:
            connection.close()
        return outcome

    def many(self, ip, port, count, bytes):
        """`count` exchanges at once; the errors of those whose echo was not what they sent."""
        together = threading.Barrier(count)
        failures = []

        def one():
            together.wait()
            outcome = self.exchange(ip, port, bytes)
            if outcome["sent"] != bytes or outcome["sentSha256"] != outcome["receivedSha256"]:
                failures.append(outcome)

        threads = [threading.Thread(target=one, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * PATIENCE_SECONDS)
        late = sum(thread.is_alive() for thread in threads)
        return {"failures": failures[:3], "failed": len(failures), "late": late}

    def open(self, ip, port):
        connection = socket.socket(family_of(ip), socket.SOCK_STREAM)
        connection.settimeout(PATIENCE_SECONDS)
        try:
            connection.connect((ip, port))
        except OSError as error:
            return {"handle": None, "error": error_name(error)}
        handle = connection.fileno()
        self.held[handle] = connection
        return {"handle": handle, "error": None}

    def send(self, handle, text):
        try:
            self.held[handle].sendall(text.encode())
            return {"error": None}
        except OSError as error:
            return {"error": error_name(error)}

    def receive(self, handle, bytes=CHUNK, seconds=PATIENCE_SECONDS):
        """What comes until there are `bytes` of it, or the end, or an error, or `seconds` are over."""
        connection = self.held[handle]
        connection.settimeout(seconds)
        text, end = b"", None
        try:
            while len(text) < bytes and end is None:
                data = connection.recv(bytes - len(text))
                text += data
                if not data:
                    end = "fin"
        except OSError as error:
            end = error_name(error)
        return {"text": text.decode("latin1"), "end": end}

    def end_write(self, handle):
        self.held[handle].shutdown(socket.SHUT_WR)
        return {}

    def close(self, handle):
        self.held.pop(handle).close()
        return {}

    def reset(self, handle):
        abort(self.held.pop(handle))
        return {}

    def get(self, ip, port, path):
        """HTTP status and body; status 0 where nobody listens."""
        connection = http.client.HTTPConnection(ip, port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return {"status": response.status, "body": response.read().decode()}
        except OSError as error:
            return {"status": 0, "body": error_name(error)}
        finally:
            connection.close()

    def run(self, line):
        order = json.loads(line)
        try:
            answer = {"ok": getattr(self, order["command"])(**order["arguments"])}
        except Exception as error:  # Whatever it is, the test shall see it.
            answer = {"broken": f"{type(error).__name__}: {error}"}
        with self.printing:
            print(json.dumps({"id": order["id"], **answer}), flush=True)


def payload(head, bytes):
    """`head` first, then `bytes` random octets, in pieces."""
    if head:
        yield head.encode()
    while bytes > 0:
        yield os.urandom(min(bytes, CHUNK))
        bytes -= CHUNK


def main():
    applications = Applications()
    print(json.dumps({"id": 0, "ok": {}}), flush=True)
    for line in sys.stdin:
        threading.Thread(target=applications.run, args=(line,), daemon=True).start()


main()
