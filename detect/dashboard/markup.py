"""HTML of the cards: pure functions from values to text, every foreign word escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from detect.dashboard.client import Mode, Model, Pairing, Status, Stream
from detect.dashboard.series import class_colour

BRAND_SVG = (
    '<svg class="detect-mark" viewBox="0 0 32 32" aria-hidden="true">'
    '<path d="M4 11V7a3 3 0 0 1 3-3h4M21 4h4a3 3 0 0 1 3 3v4M28 21v4a3 3 0 0 1-3 3h-4'
    'M11 28H7a3 3 0 0 1-3-3v-4" fill="none" stroke="currentColor" stroke-width="2.6"/>'
    '<circle cx="16" cy="16" r="5.4" fill="var(--detect-accent)"/></svg>'
)

STATE_WORDS: Mapping[str, str] = {
    "waiting": "waiting for a phone",
    "connecting": "connecting",
    "live": "live",
    "stalled": "no pictures",
    "ended": "ended",
}

DROP_WORDS: Mapping[str, str] = {
    "replaced": "replaced by newer ones",
    "viewer_busy": "not sent while the page was busy",
}

PROVIDER_WORDS: Mapping[str, str] = {
    "cpu": "CPU",
    "cuda": "CUDA GPU",
    "migraphx": "MIGraphX GPU",
    "openvino": "OpenVINO",
    "dml": "DirectML",
    "coreml": "CoreML",
}
"""Names of :attr:`detect.vision.engine.Engine.provider`."""


def pill(text: str, state: str = "") -> str:
    """A small rounded label; ``state`` gives its dot a colour."""
    dot = f'<i class="detect-dot is-{escape(state)}"></i>' if state else ""
    return f'<span class="detect-pill">{dot}{escape(text)}</span>'


def header(status: Status | None, stream: Stream | None) -> str:
    """Name of the product, and in what state it is."""
    return (
        f'<div class="detect-brand">{BRAND_SVG}<span>detect <b>live</b></span></div>'
        f'<div class="detect-pills" role="status">{_pills(status, stream)}</div>'
    )


def _pills(status: Status | None, stream: Stream | None) -> str:
    if status is None:
        return pill("media server missing", "closed")
    if stream is None:
        return pill(STATE_WORDS["waiting"], "waiting")
    pills = [
        pill(
            f"{stream.name or 'phone'} · {STATE_WORDS.get(stream.state, stream.state)}",
            stream.state,
        )
    ]
    if stream.is_live and stream.size_wh:
        pills.append(pill("{}\N{MULTIPLICATION SIGN}{}".format(*stream.size_wh)))
    if stream.is_live and stream.codec:
        pills.append(pill(stream.codec))
    return "".join(pills)


def pairing(code: Pairing | None) -> str:
    """The QR code with what to do; the address below it for typing."""
    if code is None:
        picture, address = '<div class="detect-qr is-empty"></div>', ""
    else:
        # The SVG comes from our own server and is drawn by segno; it holds no foreign text.
        picture = f'<div class="detect-qr" role="img" aria-label="QR code">{code.qr_svg}</div>'
        url = escape(code.url)
        target = 'target="_blank" rel="noreferrer"'
        address = f'<a class="detect-address" href="{url}" {target}>{url}</a>'
    return f"""
<div class="detect-pairing-body">{picture}<div class="detect-pairing-text">
<h2 class="if-waiting">Connect a phone</h2><h2 class="if-live">Add a phone</h2>
<ol class="if-waiting">
<li>Join the same Wi-Fi as this computer.</li>
<li>Scan the code with the phone's camera.</li>
<li>Accept the certificate: it is this computer's own.</li>
<li>Press <b>Start</b>. The picture appears here.</li>
</ol>
<p class="if-live">Scan the code with another phone.</p>
{address}</div></div>"""


def expiry(remaining_s: float | None) -> str:
    """How long the code still works."""
    if remaining_s is None:
        return ""
    if remaining_s <= 0:
        return "This code has expired."
    minutes, seconds = divmod(int(remaining_s), 60)
    return f"Works once, for {minutes}:{seconds:02d} more."


def device(stream: Stream) -> str:
    """One line of the list of phones."""
    facts = [STATE_WORDS.get(stream.state, stream.state)]
    if stream.is_live and stream.camera_fps is not None:
        facts.append(f"{stream.camera_fps:.0f} fps")
    if stream.is_live and stream.clock_error_ms is None:
        facts.append("clock not synchronised yet")
    words = stream.message if stream.message and not stream.is_live else " · ".join(facts)
    return (
        f'<i class="detect-dot is-{escape(stream.state)}"></i>'
        f"<b>{escape(stream.name or stream.stream_id)}</b><small>{escape(words)}</small>"
    )


def counts(stream: Stream | None, class_names: Sequence[str]) -> str:
    """Bars of how many objects of each class the newest frame holds, most frequent first."""
    if stream is None or not stream.counts:
        return '<p class="detect-quiet">Nothing the model knows is in the picture.</p>'
    ranked = sorted(stream.counts.items(), key=lambda item: (-item[1], item[0]))[:8]
    longest = max(n for _, n in ranked)
    ids = {name: i for i, name in enumerate(class_names)}
    rows = (
        f'<li><span>{escape(name)}</span><i style="--share:{n / longest:.3f};'
        f'--colour:{class_colour(ids.get(name, 0))}"></i><b>{n}</b></li>'
        for name, n in ranked
    )
    return f'<ul class="detect-bars">{"".join(rows)}</ul>'


def mode(chosen: Mode, model: Model, version: str) -> str:
    """Where inference runs, and why."""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in chosen.reasons)
    score = f" <span>score {chosen.score:.0f} of 100</span>" if chosen.score is not None else ""
    where = PROVIDER_WORDS.get(model.provider, model.provider)
    threads = (
        f", {model.threads} thread{'s' if model.threads != 1 else ''}" if model.threads else ""
    )
    engine = f"<p><b>{escape(model.name)}</b> on {escape(where)}{threads}</p>" if where else ""
    return (
        f"<h3>{escape(chosen.chosen.capitalize())} mode{score}</h3>{engine}"
        f'<ul class="detect-reasons">{reasons}</ul><small>detect {escape(version)}</small>'
    )


def drops(stream: Stream | None) -> str:
    """Frames that were left out, by cause."""
    lost = {cause: n for cause, n in (stream.dropped if stream else {}).items() if n}
    if not lost:
        return ""
    causes = (f"{n} {escape(DROP_WORDS.get(cause, cause))}" for cause, n in sorted(lost.items()))
    return f"Frames left out: {', '.join(causes)}."


def notice(text: str) -> str:
    """A line of words for the user; empty for none."""
    return f'<div class="detect-notice-text" role="alert">{escape(text)}</div>' if text else ""
