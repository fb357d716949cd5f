"""Becomes another program for which the kernel refuses one system call with EPERM, as a container's seccomp profile may.

    refuse_call.py setsockopt LEVEL OPTION -- PROGRAM ARGUMENT …

Calls that the runtime itself needs to start (epoll_create1, socketpair) end the runtime, not us: nothing to test there.
"""

import ctypes
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
# Offsets in struct seccomp_data; arguments are 64 bits, of which the low ones come first on these machines.
NUMBER, ARGUMENTS = 0, 16
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1
CALLS = {
    "x86_64": {"setsockopt": 54},
    "aarch64": {"setsockopt": 208},
}[platform.machine()]


def filter_for(call, arguments):
    """`arguments` are those after the first, which is a descriptor; all of them must match."""
    checks = [(NUMBER, CALLS[call])]
    checks += [(ARGUMENTS + 8 * (1 + index), value) for index, value in enumerate(arguments)]
    program = b""
    for index, (offset, value) in enumerate(checks):
        to_allow = 2 * (len(checks) - index - 1) + 1
        program += struct.pack("HBBI", LOAD, 0, 0, offset)
        program += struct.pack("HBBI", JUMP_EQUAL, 0, to_allow, value)
    program += struct.pack("HBBI", RETURN, 0, 0, REFUSE)
    return program + struct.pack("HBBI", RETURN, 0, 0, ALLOW)


def main():
    split = sys.argv.index("--")
    call, *arguments = sys.argv[1:split]
    program = filter_for(call, [int(value) for value in arguments])
    kept = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept)))
    libc = ctypes.CDLL(None, use_errno=True)
    for order in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0)]:
        if libc.prctl(*order) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    os.execvp(sys.argv[split + 1], sys.argv[split + 1 :])


main()
