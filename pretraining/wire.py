"""How many bytes this process has received over its sockets, asked of the operating system.

A formula says what an all-reduce sends; the kernel says what was sent. Linux keeps a count for each TCP connection
(`TCP_INFO`), and gloo's connections are open files of this process, so the two can be compared to the byte, whatever
else goes over the machine's network. Left out: NCCL between GPUs (NVLink and InfiniBand are not TCP), other systems.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path

_BYTES_RECEIVED = 128  # offset of tcpi_bytes_received in struct tcp_info (linux/tcp.h, since Linux 4.1)


def received_bytes() -> int | None:
    """Payload bytes that have come in over all TCP connections of this process; None where nobody counts them."""
    if not Path("/proc/self/fd").is_dir() or not hasattr(socket, "TCP_INFO"):
        return None
    total = 0
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{entry}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry))) as connection:
                if connection.family not in (socket.AF_INET, socket.AF_INET6):
                    continue
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            if len(info) < _BYTES_RECEIVED + 8:
                return None  # a kernel from before there was such a count
            total += struct.unpack_from("Q", info, _BYTES_RECEIVED)[0]
    return total
