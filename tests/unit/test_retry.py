"""Whether and when to send again: who may, how often, and after how long; pure, so no clock is needed."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async import errors
from ucontact_async.endpoint import Safety
from ucontact_async.retry import RetryPolicy, RetryRule

UNKNOWN = [
    errors.ReplyLost("reset", phase="sent"),
    errors.ReplyLost("reset", phase="answered"),
    errors.OutcomeUnknown("crash", phase="sent"),
    errors.ServerFault("500", status=500),
    errors.UnreadableReply("html", status=200),
]
CERTAIN = [
    errors.Rejected("0", status=200),
    errors.Forbidden("403", status=403),
    errors.NotFound("404", status=404),
    errors.Refused("405", status=405),
    errors.InvalidRequest("destination", "is empty"),
    errors.NotSent("too late", transient=False),
    errors.Unauthorized("401", status=401),
    errors.SessionStolen("401", status=401),
]
NOT_SENT = errors.NotSent("refused")
BUSY = errors.Throttled("429", status=429)
seeds = st.integers(0, 2**32)
tries_before = st.integers(1, 50)


def rule(seed=0, **policy):
    """Return a rule whose chance repeats."""
    return RetryRule(RetryPolicy(**policy), random.Random(seed))


class Highest(random.Random):
    """Chance that always takes the upper bound."""

    def uniform(self, a, b):
        """Return ``b``."""
        return b


class TestWhether:
    """Who may be sent again."""

    @pytest.mark.parametrize("error", UNKNOWN, ids=lambda error: type(error).__name__)
    @given(tries=tries_before, seed=seeds)
    def test_never_after_a_doubt_where_it_harms(self, error, tries, seed):
        """ONCE and an unknown outcome: no policy, no chance and no number of tries sends it again."""
        assert rule(seed, attempts=1000).pause(error, tries, Safety.ONCE) is None

    @pytest.mark.parametrize("error", UNKNOWN, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("safety", [Safety.READ, Safety.REPEATABLE])
    def test_after_a_doubt_where_it_does_not(self, error, safety):
        """What may be repeated is repeated."""
        assert rule().pause(error, 1, safety) is not None

    @pytest.mark.parametrize("error", CERTAIN, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("safety", Safety)
    def test_never_after_a_certain_no(self, error, safety):
        """A refusal stays one; a refused token is the caller's to replace, not to wait for."""
        assert rule().pause(error, 1, safety) is None

    @pytest.mark.parametrize("error", [NOT_SENT, BUSY], ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("safety", Safety)
    def test_what_did_not_happen_is_sent_again(self, error, safety):
        """Whatever the safety: it surely did not happen."""
        assert rule().pause(error, 1, safety) is not None

    @given(attempts=st.integers(1, 20), tries=tries_before)
    def test_the_number_of_attempts_is_bounded(self, attempts, tries):
        """There is a pause exactly as long as another attempt is allowed."""
        paused = rule(attempts=attempts).pause(NOT_SENT, tries, Safety.ONCE) is not None
        assert paused is (tries < attempts)

    def test_three_attempts_by_default(self):
        """The first, and two more."""
        assert [RetryRule().pause(NOT_SENT, tries, Safety.ONCE) is None for tries in (1, 2, 3, 4)] == [
            False,
            False,
            True,
            True,
        ]


class TestWhen:
    """After how long."""

    @given(seed=seeds, tries=st.integers(1, 40), error=st.sampled_from([NOT_SENT, BUSY, *UNKNOWN]))
    def test_full_jitter_within_bounds(self, seed, tries, error):
        """From 0 to the base doubled with each try, never above the cap, and a whole second for a busy server."""
        base = 1.0 if error is BUSY else 0.05
        pause = rule(seed, attempts=100).pause(error, tries, Safety.READ)
        assert 0 <= pause <= min(base * 2 ** (tries - 1), 20.0)

    @pytest.mark.parametrize(
        ("error", "bounds"),
        [(NOT_SENT, [0.05, 0.1, 0.2, 0.4]), (BUSY, [1.0, 2.0, 4.0, 8.0])],
        ids=lambda value: type(value).__name__,
    )
    def test_the_bounds_are_reached(self, error, bounds):
        """The upper bound of each try, and the cap in the end."""
        highest = RetryRule(RetryPolicy(attempts=10_000), Highest())
        assert [highest.pause(error, tries, Safety.ONCE) for tries in (1, 2, 3, 4)] == bounds
        assert highest.pause(error, 9_999, Safety.ONCE) == 20.0

    def test_the_bounds_are_the_policys(self):
        """Each number of the policy has its effect."""
        policy = RetryPolicy(attempts=100, base=3.0, throttled_base=5.0, cap=11.0)
        highest = RetryRule(policy, Highest())
        assert [highest.pause(NOT_SENT, tries, Safety.ONCE) for tries in (1, 2, 3)] == [3.0, 6.0, 11.0]
        assert [highest.pause(BUSY, tries, Safety.ONCE) for tries in (1, 2, 3)] == [5.0, 10.0, 11.0]

    @pytest.mark.parametrize("seconds", [0.0, 0.5, 7.0, 300.0])
    def test_what_the_server_asks_for(self, seconds):
        """A time that the server named is taken as it is, above the cap too."""
        error = errors.Throttled("503", status=503, retry_after=seconds)
        assert [rule(seed).pause(error, 1, Safety.ONCE) for seed in range(3)] == [seconds] * 3

    @given(seed=seeds)
    def test_a_seed_repeats(self, seed):
        """The same seed gives the same pauses, so that a run under virtual time can be repeated."""
        pauses = [[one.pause(NOT_SENT, tries, Safety.ONCE) for tries in (1, 2, 1)] for one in (rule(seed), rule(seed))]
        assert pauses[0] == pauses[1]
        assert len(set(pauses[0])) == 3

    def test_without_a_seed_it_does_not(self):
        """Two clients that failed together do not come back together."""
        assert RetryRule().pause(BUSY, 1, Safety.ONCE) != RetryRule().pause(BUSY, 1, Safety.ONCE)

    def test_the_chance_of_others_is_left_alone(self):
        """A program that seeds the module's generator gets its own numbers."""
        random.seed(7)
        RetryRule().pause(BUSY, 1, Safety.ONCE)
        after = random.random()
        random.seed(7)
        assert random.random() == after
