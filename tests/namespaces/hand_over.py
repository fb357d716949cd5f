"""Opens listeners and becomes another program that finds them as descriptors 3, 4, …, as systemd does (sd_listen_fds(3)).

    hand_over.py [--transparent] ADDRESS:PORT … -- PROGRAM ARGUMENT …
"""

import os
import socket
import sys

IP_TRANSPARENT = 19
FIRST = 3
AWAY = 100


def listen(text, transparent):
    ip, port = text.rsplit(":", 1)
    ip = ip.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if transparent:
        # On an IPv6 socket too it takes both families.
        listener.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    listener.bind((ip, int(port)))
    listener.listen(4096)
    return listener


def main():
    arguments = sys.argv[1:]
    split = arguments.index("--")
    addresses, program = arguments[:split], arguments[split + 1 :]
    transparent = "--transparent" in addresses
    listeners = [listen(text, transparent) for text in addresses if text != "--transparent"]
    # Out of the way first: 3, 4, … may be one of them.
    away = [os.dup2(listener.fileno(), AWAY + index, inheritable=False) for index, listener in enumerate(listeners)]
    for index, fd in enumerate(away):
        os.dup2(fd, FIRST + index, inheritable=True)
    environment = {**os.environ, "LISTEN_FDS": str(len(away)), "LISTEN_PID": str(os.getpid())}
    os.execvpe(program[0], program, environment)


main()
