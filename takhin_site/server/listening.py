"""Stop listening without losing a client that has just connected."""

import contextlib
import ctypes
import socket
import struct
import sys

# From <asm-generic/socket.h>; Python does not have it.
_SO_ATTACH_FILTER = 26
# A classic BPF program, which sees the TCP header: https://docs.kernel.org/networking/filter.html
_DROP_SYN = (
    # Of the flags, keep SYN and ACK. Drop the packet if only SYN is set: it wants to open a connection.
    struct.pack("HBBI", 0x30, 0, 0, 13)
    + struct.pack("HBBI", 0x54, 0, 0, 0x12)
    + struct.pack("HBBI", 0x15, 0, 1, 0x02)
    + struct.pack("HBBI", 0x06, 0, 0, 0)
    + struct.pack("HBBI", 0x06, 0, 0, 0xFFFFFFFF)
)
_INSTRUCTIONS = len(_DROP_SYN) // 8


def admit_no_more(listener: socket.socket) -> None:
    """Let nobody else connect, where the kernel is Linux. Those who have connected can still be accepted.

    Closing the listener resets the connections that the kernel has opened and that were not accepted yet: the client
    has sent its request, and cannot tell whether it was processed. Clients that come now repeat their SYN a second
    later, and are then refused.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    # Without the right to do this, some clients may be reset.
    with contextlib.suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", _INSTRUCTIONS, ctypes.addressof(program))
        )
