"""The memory of a run without a journal: it finds the doubles that a journal finds, however many rows there are."""

from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ucontact_async.batch.journal import Entry, FileJournal, Header
from ucontact_async.batch.transient import TransientJournal

pytestmark = pytest.mark.anyio
HEADER = Header("https://acme.example", "schedule", "first version")


def entries(texts):
    """Return rows: before the dot is the call that each makes, the whole text is what it would send."""
    return [
        Entry(blake2b(text.encode(), digest_size=16).digest(), hash(text.partition(".")[0]), position)
        for position, text in enumerate(texts, 1)
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a", "a.1", "a.2", "b", "b.1", "c", "d", "e"]), max_size=6), max_size=5),
    st.integers(0, 12),
)
async def test_it_tells_doubles_as_a_journal_does(blocks, kept):
    """Numbers, keys and doubles are those of a private file, from whichever row on there is one."""
    opened = []

    async def open_file():
        opened.append(await FileJournal.open(None, HEADER, deliver=list))
        return opened[0]

    rows = entries([text for block in blocks for text in block])
    journal, file = TransientJournal(list, open_file, kept), await FileJournal.open(None, HEADER, deliver=list)
    begin = 0
    for block in blocks:
        part = rows[begin : begin + len(block)]
        begin += len(block)
        assert await journal.recall(part) == await file.recall(part)
    assert bool(opened) == (len(rows) > kept)
    await file.aclose()
    await journal.aclose()


async def test_it_delivers_at_once_and_remembers_nothing_of_other_runs():
    """Where no mark is kept, no outcome waits for one."""
    delivered = []
    journal = TransientJournal(delivered.extend, None)
    (row,) = await journal.recall(entries(["a"]))
    assert not journal.durable
    await journal.sent(row.id)
    journal.planned(row.id)
    journal.settled(row.id, "succeeded", "", 1, "outcome")
    assert delivered == ["outcome"]
    assert await journal.overtaken(["x"]) == frozenset()
    assert await journal.doubted(["x"], 0) == []
    assert journal.calls() is None
    assert await journal.amend([row.id]) == [row.id]
    assert journal.lag().pending == 0
    await journal.aclose()
