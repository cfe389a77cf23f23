"""Who holds a lease, and whether that process is certainly gone."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_owner() -> str:
    """Who holds the leases: host, process namespace and process, so that a dead owner here can be told at once."""
    return f"{_here()}:{os.getpid()}"


def _here() -> str:
    """Containers may share a host name and reuse process ids: the namespace tells them apart where there is one."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        namespace = "0"
    return f"{socket.gethostname()}:{namespace}"


def is_dead(owner: str) -> bool:
    """True only when the owner ran here and is certainly gone: unknown is not dead."""
    where, _, pid = owner.rpartition(":")
    if where != _here() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
