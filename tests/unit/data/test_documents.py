"""Documents are worked on together as memory allows, and their texts are whole characters."""

import json

from noria.data.documents import Document, batches, whole_characters


def test_a_batch_ends_with_so_many_documents_or_characters() -> None:
    documents = [Document(text="x" * length, id=str(number), source="a") for number, length in enumerate([1, 1, 1, 1, 9, 1, 5, 5, 1])]
    found = list(batches(documents, max_documents=3, max_characters=10))
    assert [[len(d.text) for d in batch] for batch in found] == [[1, 1, 1], [1, 9], [1, 5, 5], [1]]
    assert [d for batch in found for d in batch] == documents


def test_halves_of_characters_are_joined_or_replaced() -> None:
    assert whole_characters("水车") == "水车"
    assert whole_characters(json.loads('"\\ud83d\\ude00 \\ud83d"')) == "\U0001f600 \ufffd"
    assert whole_characters(b"a-\xff".decode("utf-8", "surrogateescape")) == "a-\ufffd"
