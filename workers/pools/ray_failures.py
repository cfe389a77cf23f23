"""What Ray says went wrong, in the words of the loop."""

from __future__ import annotations

from ray import exceptions as ray_errors

from storage.records import Failure, FailureClass

_DETAIL_CHARS = 4000
_NODE_WORDS = ("node has died", "node died", "node is dead", "node was terminated")


def classified(error: Exception, *, begun: bool) -> Failure:
    """The failure of an attempt that ended in Ray's `error`. `begun`: False when the slot may have died before.

    Tests provoke every line with Ray 2.60 but those with * (test_ray_pool.py, tests/chaos/test_ray_losses.py).

    ==========================================  ================================================  =============
    Ray's error                                 what happened                                     class
    ==========================================  ================================================  =============
    RayTaskError                                the runner raised, which it must not               crash
    OutOfMemoryError                            the node's memory monitor killed the slot          host_oom
    ActorUnavailableError                       the node vanished under a running job              node_lost
    ActorDiedError naming the node              the node had vanished before                       node_lost
    ActorDiedError, `preempted` *               the node was taken back by its provider            preempted
    ActorDiedError of a warm slot, not begun    the slot was gone before the job came to it        transient
    ActorDiedError, actor_init_failed           the runner could not be loaded in the slot         crash
    ActorDiedError otherwise                    SIGKILL, SIGSEGV, os._exit                         crash
    ActorUnschedulableError                     no living node can hold the slot any more          node_lost
    NodeDiedError, LocalRayletDiedError *       as above, for tasks                                node_lost
    ObjectLostError and its kind *              a message was lost together with its node          node_lost
    any other *                                 Ray's own trouble (RPC, disk, environment)         transient
    ==========================================  ================================================  =============
    """
    failure_class, message = _class_and_message(error, begun)
    return Failure(failure_class, message, str(error)[:_DETAIL_CHARS])


def _class_and_message(error: Exception, begun: bool) -> tuple[FailureClass, str]:
    match error:
        case ray_errors.RayTaskError():
            found = FailureClass.CRASH, f"the runner raised {type(error.cause).__name__}: {error.cause}"
        case ray_errors.OutOfMemoryError():
            found = FailureClass.HOST_OOM, "the node ran low on memory and the slot was ended; run fewer jobs at once"
        case ray_errors.ActorDiedError():
            found = _death(error, begun)
        case ray_errors.ActorUnavailableError() | ray_errors.NodeDiedError() | ray_errors.LocalRayletDiedError():
            found = FailureClass.NODE_LOST, "the slot's node is gone"
        case ray_errors.ObjectLostError():
            found = FailureClass.NODE_LOST, "a message of the slot was lost with its node"
        case ray_errors.ActorUnschedulableError():
            found = FailureClass.NODE_LOST, "no living node can hold the slot any more"
        case _:
            found = FailureClass.TRANSIENT, f"Ray could not go on: {type(error).__name__}"
    return found


def _death(error: ray_errors.ActorDiedError, begun: bool) -> tuple[FailureClass, str]:
    if error.preempted:
        found = FailureClass.PREEMPTED, "the slot's node was taken back"
    elif error.actor_init_failed:
        found = FailureClass.CRASH, "the slot could not load what it shall run"
    elif any(words in str(error).lower() for words in _NODE_WORDS):
        found = FailureClass.NODE_LOST, "the slot's node is gone"
    elif not begun:
        found = FailureClass.TRANSIENT, "the slot was gone before the job began"
    else:
        found = FailureClass.CRASH, "the slot's process died under the job (a signal, or an exit within a library)"
    return found
