"""The vendor's section "Campaigns": values out of answers, whatever a server leaves out, adds or writes differently."""

import asyncio
import math
import pickle
from datetime import datetime, timedelta
from random import Random

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sound_requests import RULES

from ucontact_async.api.campaigns import (
    AverageTime,
    Campaigns,
    CampaignStatus,
    GetCampaignStatus,
    GetQueueSummary,
    OtherStatus,
    QueueSummary,
    Statuses,
    Summaries,
)
from ucontact_async.errors import InvalidRequest, SettingsError
from ucontact_async.serving import gson

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def summaries(*elements):
    """Return what is read from a list of these objects."""
    return Summaries().decode(gson(list(elements)))


def status_of(name="a->", **fields):
    """Return what is read from one object that is named as a campaign."""
    return Statuses().decode(gson({name: {"campaign": "a->"} | fields}))[name]


class TestRequests:
    """What goes out."""

    def test_a_summary_has_no_field(self):
        """The page lists none, and an empty body is sent."""
        assert Campaigns.summary.encode(GetQueueSummary(), RULES) == b""

    @pytest.mark.parametrize(
        ("queue", "body"), [("", b"queue="), ("Ventas->", b"queue=Ventas-%3E"), ("Voz", b"queue=Voz")]
    )
    def test_a_status_has_one(self, queue, body):
        """The name is percent-encoded; empty means all; broadcasts have no arrow."""
        assert Campaigns.status.encode(GetCampaignStatus(queue=queue), RULES) == body

    def test_a_name_that_none_can_be(self):
        """A name that would change the request is refused."""
        with pytest.raises(InvalidRequest, match="queue"):
            Campaigns.status.encode(GetCampaignStatus(queue="a&user=b"), RULES)


class TestSummary:
    """One queue after the other."""

    def test_the_end_is_dropped_wherever_it_stands(self):
        """An element without a queue is no queue, first or last, and neither is one whose queue is null."""
        end = {"internalActionId": "1_2", "dateReceived": "Nov 2, 2018 11:31:42 AM"}
        queue = {"queue": "a<-", "callers": 1}
        for elements in ([queue, end], [end, queue], [end, queue, end, {"queue": None}, {}]):
            assert summaries(*elements) == [QueueSummary(queue="a<-", callers=1)]
        assert summaries(end) == summaries() == []

    def test_what_is_missing_is_not_known(self):
        """The server leaves out what is null: that is None and no zero."""
        (queue,) = summaries({"queue": "a<-", "holdTime": None})
        assert queue == QueueSummary(queue="a<-")
        assert {getattr(queue, name) for name in queue.__struct_fields__[1:-1]} == {None}

    def test_what_is_new_is_kept(self):
        """Undocumented keys are in extra; the number of the dump is not."""
        (queue,) = summaries({"queue": "a<-", "privilege": "all", "internalActionId": "1_2"})
        assert queue.extra == {"privilege": "all"}

    def test_a_date_in_another_language_is_kept_as_text(self):
        """It is no reason to lose the figures, and nothing is guessed."""
        (queue,) = summaries({"queue": "a<-", "dateReceived": "2 nov. 2018 11:31:42"})
        assert (queue.received, queue.extra) == (None, {"dateReceived": "2 nov. 2018 11:31:42"})

    def test_numbers_as_text(self):
        """A server that quotes its numbers is understood."""
        (queue,) = summaries({"queue": "a<-", "loggedIn": "3", "callers": " 0 ", "holdTime": "14", "talkTime": ""})
        assert queue == QueueSummary(queue="a<-", logged_in=3, callers=0, hold_time=timedelta(seconds=14))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"queue": 7},
            {"queue": []},
            {"queue": "a<-", "callers": "many"},
            {"queue": "a<-", "callers": True},
            {"queue": "a<-", "callers": 1.5},
            {"queue": "a<-", "callers": [1]},
            {"queue": "a<-", "callers": "\u0663"},
            {"queue": "a<-", "holdTime": "00:00:10"},
            {"queue": "a<-", "holdTime": 10**18},
        ],
    )
    def test_what_cannot_be_read_is_no_answer(self, wrong):
        """A value of another kind is not bent into one."""
        with pytest.raises(ValueError, match="expected|range|days|large|queue|holdTime"):
            summaries(wrong)

    @given(json_values)
    @example([{"queue": "a<-", "callers": 1e300}])
    def test_no_other_error_than_ours(self, value):
        """Any JSON is either read or a ValueError, which is an unreadable reply."""
        for reply in (Summaries(), Statuses()):
            try:
                reply.read(value)
            except ValueError:
                continue


class TestAverage:
    """``HH:MM:SS-N``."""

    @pytest.mark.parametrize(
        ("text", "time", "number"),
        [
            ("00:00:00-0", timedelta(0), 0),
            ("00:01:05-3", timedelta(minutes=1, seconds=5), 3),
            ("123:59:59-10", timedelta(hours=123, minutes=59, seconds=59), 10),
            (" 00:00:07 ", timedelta(seconds=7), None),
            ("00:00:07-2.50", timedelta(seconds=7), 2.5),
        ],
    )
    def test_what_is_read(self, text, time, number):
        """Hours may have more than two digits; the number may be missing or broken."""
        assert AverageTime.parse(text) == AverageTime(time, number)

    @given(st.timedeltas(timedelta(0), timedelta(days=1000)), st.none() | st.integers(0, 10**9))
    def test_what_is_written_is_read_back(self, time, number):
        """parse(str(x)) == x to the second."""
        whole = AverageTime(timedelta(seconds=int(time.total_seconds())), number)
        assert AverageTime.parse(str(AverageTime(time, number))) == whole

    @pytest.mark.parametrize("text", ["", "7", "00:60:00-0", "00:00:60-0", "0:0:0", "-00:00:01-1", "00:00:00-", "a"])
    def test_what_is_none(self, text):
        """Anything else is a ValueError."""
        with pytest.raises(ValueError, match="HH:MM:SS-N"):
            AverageTime.parse(text)


class TestStatus:
    """One campaign, and what is none."""

    @pytest.mark.parametrize(
        ("text", "share"),
        [
            ("0", 0.0),
            ("0.0", 0.0),
            ("85.71", 85.71),
            ("85,71", 85.71),
            ("100 %", 100.0),
            ("7.", 7.0),
            (12.5, 12.5),
            (3, 3.0),
        ],
    )
    def test_percentages(self, text, share):
        """Text or number, point or comma, with or without the sign."""
        assert status_of(servicelevel=text).service_level == share

    @given(st.floats(0, 100).map(lambda share: round(share, 2)))
    def test_percentages_are_read_back(self, share):
        """Every share that Java prints with two decimals comes back."""
        assert status_of(servicelevel=f"{share:.2f}").service_level == share

    @pytest.mark.parametrize("nothing", ["", "NaN", None])
    def test_no_percentage(self, nothing):
        """The share of nothing is None and neither 0 nor a number that equals nothing."""
        assert status_of(servicelevel=nothing).service_level is None

    def test_numbers_as_text(self):
        """A server that quotes every number, or none, says the same."""
        quoted = status_of(availables="2", acd="7", slevelthreshold="3", wrapup="10.0", abandonedlevel="5")
        plain = status_of(availables=2, acd=7, slevelthreshold=3, wrapup=10, abandonedlevel=5)
        assert quoted == plain
        assert (plain.available, plain.waiting, plain.threshold, plain.wrapup, plain.abandoned_level) == (
            2,
            7,
            3,
            10,
            5.0,
        )

    def test_what_is_missing_or_new(self):
        """Missing keys are None, new ones are kept."""
        assert status_of(dialer={"type": 1}) == CampaignStatus(campaign="a->", extra={"dialer": {"type": 1}})

    @pytest.mark.parametrize(
        "fields", [{}, {"campaign": None}, {"campaign": "a->", "phone": "1001"}, {"callerid": "098344484"}]
    )
    def test_agents_and_calls_are_kept_as_they_came(self, fields):
        """What does not name itself as a campaign is tagged and raw: its keys are unpublished."""
        (found,) = Statuses().decode(gson({"SIP/098344484": fields})).values()
        assert found == OtherStatus(name="SIP/098344484", fields=fields)
        assert "098344484" not in repr(found)

    @pytest.mark.parametrize(
        "wrong", [{"acd": "few"}, {"talked": "soon"}, {"servicelevel": "-"}, {"strategy": 1}, {"hold": 5}]
    )
    def test_one_odd_campaign_does_not_hide_the_others(self, wrong):
        """It is kept raw and says which key could not be read."""
        found = Statuses().decode(gson({"a->": {"campaign": "a->"} | wrong, "b->": {"campaign": "b->", "acd": 1}}))
        assert found["b->"] == CampaignStatus(campaign="b->", waiting=1)
        assert isinstance(found["a->"], OtherStatus)
        assert found["a->"].fields == {"campaign": "a->"} | wrong
        assert found["a->"].problem.startswith(next(iter(wrong)))

    def test_values_are_frozen_and_travel(self):
        """They cannot be changed, and a pickle of them is equal; extras are hidden in what is shown."""
        status = status_of(acd=1, talked="00:00:01-1", caller="098344484")
        with pytest.raises(AttributeError):
            status.waiting = 2
        assert pickle.loads(pickle.dumps(status)) == status
        assert msgspec.structs.replace(status, waiting=2).waiting == 2
        assert "098344484" not in repr(status) + str(list(status.__rich_repr__()))
        assert "waiting=1" in repr(status)


class TestWatches:
    """The group's own watches."""

    async def test_clock_sleep_and_chance_are_given(self):
        """A group with clock, sleep and chance of its own hands them to its watches, and tells of each."""

        class Answering:
            async def call(self, endpoint, request):
                return [QueueSummary(queue=endpoint.path)] if endpoint is Campaigns.summary else {"": request.queue}

        slept, opened = [], []

        async def sleep(seconds):
            slept.append(seconds)
            await asyncio.sleep(0)

        group = Campaigns(Answering(), opened=opened.append, clock=lambda: 0.0, sleep=sleep, chance=Random(3))
        watch = group.watch(every=8)
        assert (await anext(watch)).data == [QueueSummary(queue="Supervisor/queuesummary")]
        await anext(watch)
        assert slept == [8 * Random(3).uniform(0.9, 1.1)]
        other = group.watch_status(queue="a->")
        assert (await anext(other)).data == {"": "a->"}
        assert opened == [watch, other]

    @pytest.mark.parametrize("every", [0, -1, math.nan, math.inf])
    def test_an_interval_that_cannot_be(self, every):
        """It is refused when the watch is made, not when it first waits."""
        with pytest.raises(SettingsError, match="every"):
            Campaigns(None).watch(every=every)


def test_moments_are_the_servers():
    """``received`` carries no zone: the server names none."""
    (queue,) = summaries({"queue": "a<-", "dateReceived": "Nov 2, 2018, 1:31:42\u202fPM"})
    assert queue.received == datetime(2018, 11, 2, 13, 31, 42)
