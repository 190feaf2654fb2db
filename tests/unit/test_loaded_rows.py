"""What a journal keeps of a request: enough to send the same bytes in another process."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_requests import RULES, sound

from ucontact_async.api import ENDPOINTS, endpoint_of
from ucontact_async.endpoint import Safety
from ucontact_async.text import Rules

LOADED = sorted(
    (e for e in ENDPOINTS.values() if e.safety is not Safety.READ and e.authenticated and "upload" not in e.path),
    key=lambda endpoint: endpoint.path,
)


@pytest.mark.parametrize("endpoint", LOADED, ids=lambda endpoint: endpoint.path)
@settings(max_examples=15)
@given(data=st.data())
def test_a_row_is_sent_as_it_was_loaded(endpoint, data):
    """What the journal keeps of any request that does something reads back as one with the same bytes."""
    request = data.draw(sound(endpoint.request_type))
    prepared = endpoint_of(request).prepare(request, RULES)
    read = endpoint_of(request).codec.read(prepared.document, Rules())
    assert endpoint_of(read).prepare(read, RULES).body == prepared.body
