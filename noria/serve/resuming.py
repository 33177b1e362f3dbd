"""Turns that a kill left open: each is finished before anything else happens in its conversation.

In: a conversation that the caller has alone, and what answers it. Out: nothing; the answers stand in the conversation.
"""

import logging

from noria.errors import NoriaError
from noria.schema import Conversation
from noria.serve.placing import RAW
from noria.serve.runtime import Runtime
from noria.serve.serving import Serving

log = logging.getLogger(__name__)


def finish_open_turns(runtime: Runtime, conversation: Conversation, serving: Serving) -> None:
    """Finish the conversation's open turns, oldest first. One of the model alone cannot be taken up and ends as failed."""
    for turn in [turn for turn in runtime.traces.open_turns() if turn.conversation_id == conversation.id]:
        try:
            if conversation.metadata.get("mode") == RAW:
                runtime.traces.finish_turn(turn.id, "failed")
                continue
            for _ in serving.agent().resume(turn):
                pass
            log.info("turn %s, which was interrupted, has been finished", turn.id)
        except NoriaError as error:
            log.warning("turn %s, which was interrupted, could not be finished: %s", turn.id, error)
