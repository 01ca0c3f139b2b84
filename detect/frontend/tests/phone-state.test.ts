import { describe, expect, test } from "vitest";
import {
  type PhoneEvent,
  type PhoneState,
  reduce,
  type Signal,
  signalOf,
  usesCamera,
} from "../src/phone/state.ts";
import type { LinkStats } from "../src/transport.ts";

const READY: PhoneState = { kind: "ready", isReturning: false };
const CONNECTING: PhoneState = {
  kind: "connecting",
  step: "server",
  trouble: null,
  nFailed: 0,
  track: "live",
};
const LIVE: PhoneState = { kind: "live", sinceMs: 5, signal: null, track: "live" };
const STOPPED: PhoneState = { kind: "stopped" };
const DENIED: PhoneState = { kind: "failed", failure: { kind: "denied" } };

const EVENTS: readonly PhoneEvent[] = [
  { type: "start" },
  { type: "camera_opened" },
  { type: "camera_failed", failure: { kind: "in_use" } },
  { type: "track", track: "muted" },
  { type: "link", link: { kind: "live", sinceMs: 9 } },
  { type: "link", link: { kind: "failed", failure: { kind: "no_route" } } },
  { type: "link", link: { kind: "closed" } },
  { type: "signal", signal: "weak" },
  { type: "stop" },
];

function run(start: PhoneState, ...events: PhoneEvent[]): PhoneState {
  return events.reduce(reduce, start);
}

test("from the tap to live", () => {
  expect(
    run(
      READY,
      { type: "start" },
      { type: "camera_opened" },
      { type: "link", link: { kind: "connecting", step: "media", trouble: null, nFailed: 0 } },
      { type: "link", link: { kind: "live", sinceMs: 5 } },
    ),
  ).toEqual(LIVE);
});

test("trouble on the way keeps the camera, and what is known about it", () => {
  const lost = { kind: "connecting", step: "server", trouble: "lost", nFailed: 1 } as const;
  expect(run(LIVE, { type: "track", track: "muted" }, { type: "link", link: lost })).toEqual({
    ...lost,
    track: "muted",
  });
});

test.each([
  ["failure of the camera", { type: "camera_failed", failure: { kind: "denied" } }, DENIED],
  [
    "failure of the link",
    { type: "link", link: { kind: "failed", failure: { kind: "no_route" } } },
    { kind: "failed", failure: { kind: "no_route" } },
  ],
  ["stop", { type: "stop" }, STOPPED],
  ["signal", { type: "signal", signal: "fair" }, { ...LIVE, signal: "fair" }],
] as const)("live: %s", (_, event, expected) => {
  expect(reduce(LIVE, event)).toEqual(expected);
});

test("after a failure the user may try again", () => {
  expect(reduce(DENIED, { type: "start" })).toEqual({ kind: "asking" });
});

describe.each([
  ["stopped", STOPPED],
  ["failed", DENIED],
] as const)("%s", (_, state) => {
  test.each(EVENTS.filter((event) => event.type !== "start"))("ignores %j", (event) => {
    expect(reduce(state, event)).toBe(state);
  });
});

test("stopped stays stopped: the server has forgotten this phone", () => {
  expect(reduce(STOPPED, { type: "start" })).toBe(STOPPED);
});

test.each(EVENTS)(
  "the user's answer to the browser is awaited; early %j changes nothing odd",
  (event) => {
    const next = reduce({ kind: "asking" }, event);
    expect(["asking", "connecting", "failed", "stopped"]).toContain(next.kind);
  },
);

test("no event makes a state out of thin air", () => {
  for (const state of [READY, CONNECTING, LIVE, STOPPED, DENIED]) {
    for (const event of EVENTS) {
      const next = reduce(state, event);
      if (usesCamera(next)) expect(usesCamera(state)).toBe(true);
    }
  }
});

const STATS: LinkStats = { sentFps: 30, rttMs: 5, lostFraction: 0, limitation: "none" };

test.each<[Signal, Partial<LinkStats>]>([
  ["good", {}],
  ["good", { rttMs: null, lostFraction: null }],
  ["good", { limitation: "cpu" }],
  ["fair", { rttMs: 130 }],
  ["fair", { limitation: "bandwidth" }],
  ["fair", { lostFraction: 0.05 }],
  ["weak", { rttMs: 400 }],
  ["weak", { lostFraction: 0.2 }],
])("signal %s: %j", (expected, over) => {
  expect(signalOf({ ...STATS, ...over })).toBe(expected);
});
