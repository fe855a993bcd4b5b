"""Offers and answers as the content of Flower's messages; the server imports this too."""

from flwr.app import ConfigRecord, Message, RecordDict

from fedkd.protocol.chunking import join, split
from fedkd.protocol.messages import Fields


def to_records(name: str, fields: Fields, parts: dict[bytes, list[bytes]] | None = None) -> RecordDict:
    """Return the content of a message.

    Args:
        name: Name of the record that holds the fields, ``offer`` or ``answer``; what is left of long bytes follows it.
        fields: See ``fedkd.protocol.messages``.
        parts: See ``fedkd.protocol.chunking.split``.
    """
    return RecordDict({part: ConfigRecord(table) for part, table in split(name, fields, parts).items()})


def from_records(name: str, message: Message) -> Fields:
    """Return the fields that ``to_records`` was given.

    Raises:
        KeyError, TypeError, ValueError: The message holds no such fields.
    """
    return join(name, message.content.config_records)
