"""What an agent reports while it works on a turn: pieces of the reply, finished steps, and last the turn itself."""

from noria.schema import Delta, Record, Step, Turn


class StepEvent(Record):
    """A step that ended; it is already stored."""

    step: Step


class TurnEvent(Record):
    """The end of the turn; the last event."""

    turn: Turn


Event = Delta | StepEvent | TurnEvent
