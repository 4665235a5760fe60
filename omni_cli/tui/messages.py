"""Messages between the app, its panes and its background threads."""

from textual.message import Message


class StoreChanged(Message):
    """The store was written to, by this process or another, or the day or minute turned.

    What is shown should be read again. Several at once are as good as one.
    """

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, StoreChanged)
