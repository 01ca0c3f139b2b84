"""Every transition of a pairing token."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from detect.errors import PairingError
from detect.server.pairing import MAX_SPENT, NS_PER_S, Pairing, RefusalCode, TokenRefusedError


class FakeClock:
    def __init__(self) -> None:
        self.time_ns = 10**12

    def __call__(self) -> int:
        return self.time_ns

    def advance(self, seconds: float) -> None:
        self.time_ns += round(seconds * NS_PER_S)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pairing(clock: FakeClock) -> Pairing:
    return Pairing(ttl_s=600, now=clock)


def refusal(pairing: Pairing, token: str) -> RefusalCode:
    with pytest.raises(TokenRefusedError) as caught:
        pairing.redeem(token, "again")
    return caught.value.code


def resume_refusal(pairing: Pairing, token: str) -> RefusalCode:
    with pytest.raises(TokenRefusedError) as caught:
        pairing.resume(token)
    return caught.value.code


def test_a_token_is_at_least_128_random_bits(pairing: Pairing) -> None:
    tokens = {pairing.new_code().token for _ in range(50)}
    assert len(tokens) == 50
    assert all(len(token) * 6 >= 128 for token in tokens)  # 6 bits per base64 character


def test_the_code_stays_until_it_is_used(pairing: Pairing, clock: FakeClock) -> None:
    first = pairing.code()
    clock.advance(100)
    again = pairing.code()
    assert again.token == first.token
    assert again.expires_s == pytest.approx(500)
    pairing.redeem(first.token, "a")
    assert pairing.code().token != first.token


def test_a_token_works_once(pairing: Pairing) -> None:
    token = pairing.code().token
    assert pairing.resume(pairing.redeem(token, "a")) == "a"
    assert refusal(pairing, token) is RefusalCode.USED


def test_a_token_expires(pairing: Pairing, clock: FakeClock) -> None:
    token = pairing.code().token
    clock.advance(600)
    assert refusal(pairing, token) is RefusalCode.EXPIRED
    assert refusal(pairing, token) is RefusalCode.EXPIRED  # and stays expired
    assert pairing.code().token != token


def test_a_token_works_to_its_last_moment(pairing: Pairing, clock: FakeClock) -> None:
    token = pairing.code().token
    clock.advance(599.999)
    assert pairing.redeem(token, "a")


def test_a_new_code_replaces_the_unused_one(pairing: Pairing) -> None:
    old = pairing.code().token
    new = pairing.new_code().token
    assert refusal(pairing, old) is RefusalCode.EXPIRED
    assert pairing.redeem(new, "a")


@pytest.mark.parametrize("token", ["", "x", "é" * 5000, "\ud800"])
def test_rubbish_is_unknown(pairing: Pairing, token: str) -> None:
    pairing.code()
    assert refusal(pairing, token) is RefusalCode.UNKNOWN
    assert resume_refusal(pairing, token) is RefusalCode.UNKNOWN


def test_nothing_is_good_before_a_code_was_shown(pairing: Pairing) -> None:
    assert refusal(pairing, "anything") is RefusalCode.UNKNOWN


def test_a_pairing_token_is_no_resume_token_and_the_reverse(pairing: Pairing) -> None:
    token = pairing.code().token
    assert resume_refusal(pairing, token) is RefusalCode.UNKNOWN
    resume = pairing.redeem(token, "a")
    assert refusal(pairing, resume) is RefusalCode.UNKNOWN


def test_a_resume_token_works_again_and_again_and_does_not_age(
    pairing: Pairing, clock: FakeClock
) -> None:
    resume = pairing.redeem(pairing.code().token, "a")
    clock.advance(86_400)
    assert [pairing.resume(resume) for _ in range(3)] == ["a"] * 3


def test_removal_revokes_and_says_so(pairing: Pairing) -> None:
    resume = pairing.redeem(pairing.code().token, "a")
    pairing.revoke("a")
    assert resume_refusal(pairing, resume) is RefusalCode.REVOKED


def test_leaving_forgets(pairing: Pairing) -> None:
    resume = pairing.redeem(pairing.code().token, "a")
    pairing.forget("a")
    assert resume_refusal(pairing, resume) is RefusalCode.UNKNOWN


def test_removing_one_phone_leaves_the_other(pairing: Pairing) -> None:
    first = pairing.redeem(pairing.code().token, "a")
    second = pairing.redeem(pairing.code().token, "b")
    pairing.revoke("a")
    assert resume_refusal(pairing, first) is RefusalCode.REVOKED
    assert pairing.resume(second) == "b"


def test_removing_a_stranger_is_no_error(pairing: Pairing) -> None:
    pairing.revoke("nobody")
    pairing.forget("nobody")


def test_memory_of_spent_tokens_is_bounded(pairing: Pairing) -> None:
    first = pairing.code().token
    for _ in range(MAX_SPENT + 1):
        pairing.new_code()
    assert len(pairing._spent) == MAX_SPENT
    assert refusal(pairing, first) is RefusalCode.UNKNOWN


def test_only_the_shown_code_is_kept_in_clear(pairing: Pairing) -> None:
    used = pairing.code().token
    resume = pairing.redeem(used, "a")
    kept = repr(vars(pairing))
    assert used not in kept
    assert resume not in kept


def test_a_code_does_not_show_its_token_when_logged(pairing: Pairing) -> None:
    code = pairing.code()
    assert code.token not in f"{code!r} {code}"


def test_a_refusal_is_a_pairing_error_in_plain_words(pairing: Pairing) -> None:
    with pytest.raises(PairingError, match="Scan the code"):
        pairing.redeem("wrong", "a")


class AnyOrder(RuleBasedStateMachine):
    """Whatever the order of events, each one-time token makes one phone, and none out of time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.pairing = Pairing(ttl_s=600, now=self.clock)
        self.used: list[str] = []
        self.live: dict[str, str] = {}  # resume token → stream
        self.dead: list[str] = []

    @rule()
    def show_a_new_code(self) -> None:
        self.pairing.new_code()

    @rule()
    def wait(self) -> None:
        self.clock.advance(400)

    @rule()
    def pair(self) -> None:
        token, stream_id = self.pairing.code().token, f"s{len(self.used)}"
        self.live[self.pairing.redeem(token, stream_id)] = stream_id
        self.used.append(token)

    @precondition(lambda self: self.live)
    @rule(is_removed=st.booleans())
    def end(self, is_removed: bool) -> None:
        token, stream_id = self.live.popitem()
        (self.pairing.revoke if is_removed else self.pairing.forget)(stream_id)
        self.dead.append(token)

    @invariant()
    def used_tokens_stay_used(self) -> None:
        assert all(refusal(self.pairing, token) is RefusalCode.USED for token in self.used)

    @invariant()
    def only_live_phones_resume(self) -> None:
        assert all(self.pairing.resume(token) == stream for token, stream in self.live.items())
        for token in self.dead:
            resume_refusal(self.pairing, token)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
