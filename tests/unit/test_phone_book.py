"""What of the phones is on disk, and what a damaged file does."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from detect.server.pairing import SEEN_STEP_S, KnownPhone, Pairing, TokenRefusedError
from detect.server.phone_book import MAX_BYTES, MAX_PHONES, PhoneBook

HOUR_S = 3600.0


class FakeTime:
    def __init__(self) -> None:
        self.now_s = 1.7e9

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def utc_s() -> FakeTime:
    return FakeTime()


@pytest.fixture
def book(tmp_path: Path, utc_s: FakeTime) -> PhoneBook:
    return PhoneBook(tmp_path, port=8765, ttl_s=12 * HOUR_S, utc_s=utc_s)


def paired_with(book: PhoneBook, utc_s: FakeTime) -> Pairing:
    return Pairing(utc_s=utc_s, known=book.load(), on_change=book.save)


def phone(n: int, seen_s: float) -> KnownPhone:
    return KnownPhone(n.to_bytes(32, "big"), f"{n:x}", f"phone {n}", seen_s, seen_s)


def test_a_phone_comes_back_to_another_server(book: PhoneBook, utc_s: FakeTime) -> None:
    first = paired_with(book, utc_s)
    code = first.code().token
    resume = first.redeem(code, "abc", "Pixel")
    second = paired_with(book, utc_s)
    assert second.resume(resume) == "abc"
    assert [each.name for each in second.known] == ["Pixel"]
    with pytest.raises(TokenRefusedError):
        second.redeem(code, "again")


def test_only_digests_are_written_and_only_for_the_user(book: PhoneBook, utc_s: FakeTime) -> None:
    pairing = paired_with(book, utc_s)
    code = pairing.code().token
    resume = pairing.redeem(code, "abc", "Pixel")
    text = book.path.read_text()
    assert resume not in text
    assert code not in text
    assert list(book.path.parent.iterdir()) == [book.path]  # nothing half-written is left
    if os.name != "nt":
        assert stat.S_IMODE(book.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("end", [Pairing.revoke, Pairing.forget])
def test_who_left_or_was_removed_is_not_known_later(
    book: PhoneBook, utc_s: FakeTime, end: object
) -> None:
    pairing = paired_with(book, utc_s)
    resume = pairing.redeem(pairing.code().token, "abc")
    assert callable(end)
    end(pairing, "abc")
    assert not book.path.exists()
    with pytest.raises(TokenRefusedError):
        paired_with(book, utc_s).resume(resume)


def test_who_was_away_too_long_is_left_out(book: PhoneBook, utc_s: FakeTime) -> None:
    pairing = paired_with(book, utc_s)
    resume = pairing.redeem(pairing.code().token, "abc", "Pixel")
    utc_s.now_s += 8 * HOUR_S
    pairing.note_seen("abc", "Pixel")
    utc_s.now_s += 8 * HOUR_S
    assert paired_with(book, utc_s).resume(resume) == "abc"  # it was here 8 h ago
    utc_s.now_s += 5 * HOUR_S
    assert book.load() == ()


def test_being_here_is_written_now_and_then(utc_s: FakeTime) -> None:
    written: list[tuple[KnownPhone, ...]] = []
    pairing = Pairing(utc_s=utc_s, on_change=written.append)
    pairing.redeem(pairing.code().token, "abc", "Pixel")
    for _ in range(10):
        utc_s.now_s += SEEN_STEP_S / 10
        pairing.note_seen("abc", "Pixel")
        pairing.note_seen("other", "Pixel")
    pairing.note_seen("abc", "renamed")
    assert [phones[0].name for phones in written] == ["Pixel", "Pixel", "renamed"]


def test_a_clock_that_ran_ahead_makes_nobody_stay(book: PhoneBook, utc_s: FakeTime) -> None:
    book.save([phone(1, utc_s.now_s + 1000 * HOUR_S)])
    assert book.load()[0].seen_s == utc_s.now_s


def test_the_newest_are_kept_when_there_are_too_many(book: PhoneBook, utc_s: FakeTime) -> None:
    phones = [phone(n, utc_s.now_s - n) for n in range(2 * MAX_PHONES)]
    book.save(phones)
    assert set(book.load()) == set(phones[:MAX_PHONES])
    assert book.path.stat().st_size < MAX_BYTES


ENTRY = {"sha256": "0" * 64, "stream_id": "a", "name": "x", "paired_s": 1.0, "seen_s": 1.0}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"rubbish",
        b"\xff\xfe",
        b"[]",
        b"x" * (MAX_BYTES + 1),
        json.dumps({"phones": [{**ENTRY, "sha256": "0"}]}).encode(),
        json.dumps({"phones": [{**ENTRY, "stream_id": "../a"}]}).encode(),
        json.dumps({"phones": [{**ENTRY, "seen_s": "now"}]}).encode(),
        json.dumps({"phones": [ENTRY] * (MAX_PHONES + 1)}).encode(),
    ],
)
def test_a_broken_file_is_named_and_passed_over(
    book: PhoneBook, utc_s: FakeTime, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    book.path.write_bytes(content)
    assert book.load() == ()
    assert "must scan a new code" in caplog.text
    pairing = paired_with(book, utc_s)
    resume = pairing.redeem(pairing.code().token, "abc")
    assert paired_with(book, utc_s).resume(resume) == "abc"


def test_a_disk_that_refuses_stops_no_pairing(
    tmp_path: Path, utc_s: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    book = PhoneBook(tmp_path / "missing", port=1, ttl_s=HOUR_S, utc_s=utc_s)
    pairing = paired_with(book, utc_s)
    assert pairing.resume(pairing.redeem(pairing.code().token, "abc")) == "abc"
    assert "cannot be written" in caplog.text


def test_old_files_of_other_ports_are_removed(book: PhoneBook, utc_s: FakeTime) -> None:
    old, fresh = book.path.with_name("phones-1.json"), book.path.with_name("phones-2.json")
    for path, age_h in ((old, 13), (fresh, 11)):
        path.write_text("{}")
        os.utime(path, (utc_s.now_s - age_h * HOUR_S,) * 2)
    book.load()
    assert (old.exists(), fresh.exists()) == (False, True)
