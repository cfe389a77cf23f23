"""Being connected to Ray: quietly, locally or on a cluster, with nothing left behind."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import ray
import ray._private.worker

from workers.pools.protocol import PoolError
from workers.pools.ray_shapes import Node

_OBJECT_STORE_BYTES = 100 * 2**20  # records travel, tensors never do; 75 MiB is the least that Ray takes
_KNOCK_S = 10.0
_ADDRESSES = (
    "auto (the cluster this machine belongs to) or HOST:PORT of its head node; a cluster that asks for a token (Ray's "
    "default) is given it with RAY_AUTH_MODE=token and the head node's ~/.ray/auth_token"
)


@dataclass(frozen=True)
class RayOptions:
    """How slots are made. `slots` None: as many as the resources allow for what the jobs ask.

    `cpus_per_slot`, `gpus_per_slot`: every slot has this shape, whatever its job asks. `address` None: a Ray of our
    own on this machine, gone when the pool is closed; else a cluster's. `threads`: of one job, told to all
    numerical libraries of the slot. `jobs_per_slot`: after so many, where a bundle counts as one, a slot's process is
    replaced by a fresh one.
    """

    slots: int | None = None
    cpus_per_slot: float | None = None
    gpus_per_slot: float | None = None
    address: str | None = None
    threads: int = 1
    jobs_per_slot: int = 50

    def environment(self, gpus: float) -> dict[str, str]:
        """What a slot's process must find before it loads its first numerical library.

        Ray leaves all GPUs visible to a slot that was given none: there they are hidden.
        """
        pools = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
        hidden = {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}
        threads = {f"{name}_NUM_THREADS": str(self.threads) for name in pools}
        return {**threads, "OMP_WAIT_POLICY": "passive", **hidden}


class RaySession:
    """The connection of this process to Ray. One that was there before is used, and left open by `close`.

    Make it in the main thread: a local Ray dies with the thread that started it. Raises PoolError when Ray cannot be
    reached."""

    def __init__(self, options: RayOptions) -> None:
        self._is_ours = not ray.is_initialized()
        self._undertaker: subprocess.Popen[bytes] | None = None
        if not self._is_ours:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray._private.worker._worker_logs_enabled = False  # notices of dead workers would go to stdout, where data go
        before = _children()
        try:
            _knock(options.address)
            with _own_sigterm():
                ray.init(
                    options.address or "local", log_to_driver=False, logging_level=logging.ERROR, **_local(options)
                )
        except (OSError, RuntimeError, ValueError) as error:
            where = options.address or "this machine"
            raise PoolError(f"Ray at {where} cannot be used ({error}); expected {_ADDRESSES}") from error
        if options.address is None:
            self._undertaker = _undertaker(_children() - before)

    def living_nodes(self) -> list[Node]:
        """Nodes that the cluster believes alive; one that just died may be among them for some seconds."""
        return [Node(node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]]

    def close(self) -> None:
        """End the local Ray with all its processes, or leave the cluster. Idempotent."""
        if self._undertaker is not None:
            _without_waiting()
        if self._is_ours:
            ray.shutdown()
        if self._undertaker is not None and self._undertaker.stdin is not None:
            self._undertaker.stdin.close()
            self._undertaker.wait()
            self._undertaker = None


def _without_waiting() -> None:
    """Let `ray.shutdown` kill the processes of a local Ray, not ask them to go: that takes a second for nothing."""
    node = ray._private.worker._global_node
    if node is not None and hasattr(node, "kill_all_processes"):
        kill = node.kill_all_processes
        node.kill_all_processes = lambda **_: kill(check_alive=False, allow_graceful=False)


def _local(options: RayOptions) -> dict[str, Any]:
    """How a Ray of our own is started; nothing of it may be said to a cluster's.

    CPUs are only counted: there may be more slots than cores when somebody asks for them."""
    if options.address is not None:
        return {}
    # Slots have an environment of their own, so that workers started in advance would never be used.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    wanted_cpus = math.ceil((options.slots or 1) * (options.cpus_per_slot or 1))
    return {
        "num_cpus": max(len(os.sched_getaffinity(0)), wanted_cpus),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }


def _children() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def _undertaker(pids: set[int]) -> subprocess.Popen[bytes]:
    """A shell that outlives this process by a moment and ends what is left of the local Ray.

    Ray's own processes die with the driver, but for the two agents of the raylet: when the driver is killed they
    try for a minute to tell a control store that is gone (Ray 2.60, process_watcher.report_raylet_error_logs).
    """
    script = 'cat >/dev/null; kill -9 "$@" 2>/dev/null; true'
    words = ["/bin/sh", "-c", script, "undertaker", *(str(pid) for pid in pids)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)


def _knock(address: str | None) -> None:
    """Raise OSError or ValueError where nothing listens; ray.init would wait for minutes, and then end the process."""
    if address is None or address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise ValueError(f"{address!r} is no HOST:PORT")
    socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """ray.init takes SIGTERM for itself; the driver's handler, which gives running jobs back, is put in place again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
