import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  ackText,
  authPayload,
  drawnText,
  type Parsed,
  parseControl,
  parseOfferAck,
  parsePicture,
  parseRefusal,
  parseResults,
  parseViewerText,
  parseWelcome,
  pongText,
  stateText,
  visibleText,
  watchText,
} from "../src/protocol.ts";

interface Vectors {
  readonly valid: readonly unknown[];
  readonly invalid: readonly unknown[];
}

const vectors = JSON.parse(
  readFileSync(new URL("../../../tests/vectors/protocol.json", import.meta.url), "utf8"),
) as Record<string, Vectors>;

const ofText = (parse: (text: string) => Parsed<unknown>) => (message: unknown) =>
  parse(JSON.stringify(message));

const READERS: Record<string, (message: unknown) => Parsed<unknown>> = {
  control: ofText(parseControl),
  results: ofText(parseResults),
  viewer: ofText(parseViewerText),
  welcome: parseWelcome,
  offer_answer: parseOfferAck,
};

describe.each(Object.entries(READERS))("shared vectors of %s", (name, read) => {
  const { valid, invalid } = vectors[name] as Vectors;
  test.each(valid)("takes %j", (message) => {
    expect(read(message)).toMatchObject({ ok: true });
  });
  test.each(invalid)("refuses %j", (message) => {
    expect(read(message)).toMatchObject({ ok: false, error: expect.stringContaining("expected") });
  });
});

test("every shared vector has a reader here", () => {
  expect(Object.keys(vectors).filter((name) => name !== "about")).toEqual(Object.keys(READERS));
});

test("results become boxes with names", () => {
  const text = JSON.stringify({
    rtp: 9,
    size_wh: [640, 480],
    boxes: [[1, 2, 3, 4, 0.5, 7, -1]],
    age_ms: null,
    processing_ms: 12.5,
    model: "m",
  });
  expect(parseResults(text)).toEqual({
    ok: true,
    value: {
      rtp: 9,
      sizeWh: [640, 480],
      boxes: [{ x1: 1, y1: 2, x2: 3, y2: 4, score: 0.5, classId: 7, trackId: -1 }],
      ageMs: null,
      processingMs: 12.5,
      model: "m",
    },
  });
});

test("a refusal says which field was wrong, what was expected and what came", () => {
  const parsed = parseResults('{"rtp": 1.5}');
  expect(parsed).toEqual({ ok: false, error: "rtp: expected a whole number, got 1.5" });
});

test("long nonsense is cut in the error", () => {
  const parsed = parseControl(JSON.stringify({ type: "x".repeat(500) }));
  expect(parsed.ok).toBe(false);
  if (!parsed.ok) expect(parsed.error.length).toBeLessThan(120);
});

test.each(["", "{", "undefined", '{"type":'])("text that is no JSON is refused: %j", (text) => {
  for (const parse of [parseControl, parseResults, parseViewerText]) {
    expect(parse(text).ok).toBe(false);
  }
});

test.each([
  ["pair", { kind: "pair", token: "t" }, { protocol: 1, pair: "t", name: "iPhone" }],
  ["resume", { kind: "resume", token: "t" }, { protocol: 1, resume: "t", name: "iPhone" }],
  ["local", { kind: "local", name: "laptop" }, { protocol: 1, local: "laptop" }],
] as const)("auth by %s", (_, credential, expected) => {
  expect(authPayload(credential, "iPhone")).toEqual(expected);
});

test("what the pages say", () => {
  expect(JSON.parse(pongText({ id: 1, serverMs: 2, receivedMs: 3, repliedMs: 4 }))).toEqual({
    type: "pong",
    id: 1,
    server_ms: 2,
    received_ms: 3,
    replied_ms: 4,
  });
  expect(JSON.parse(pongText({ id: 1, receivedMs: 3, repliedMs: 4 }))).not.toHaveProperty(
    "server_ms",
  );
  expect(JSON.parse(stateText({ facing: null, track: "muted", visible: false }))).toEqual({
    type: "state",
    facing: null,
    track: "muted",
    visible: false,
  });
  expect(JSON.parse(watchText(null))).toEqual({ type: "watch", stream_id: null });
  expect(JSON.parse(ackText(4))).toEqual({ type: "ack", seq: 4 });
  expect(JSON.parse(drawnText(4, { arrivedMs: 5, drawnMs: 6 }))).toEqual({
    type: "drawn",
    seq: 4,
    arrived_ms: 5,
    drawn_ms: 6,
  });
  expect(JSON.parse(visibleText(false))).toEqual({ type: "visible", value: false });
});

test("a server that refuses without words is not taken for one that explains", () => {
  expect(parseRefusal(undefined).ok).toBe(false);
  expect(parseRefusal({ code: "full", message: "Full." })).toEqual({
    ok: true,
    value: { code: "full", message: "Full." },
  });
});

const HEADER = {
  seq: 5,
  stream_id: "s1",
  rtp: 90_000,
  size_wh: [640, 480],
  boxes: [[0, 0, 10, 10, 0.5, 0, 1]],
  model: "m",
  captured_ms: 1.5,
  error_ms: 0.5,
  processing_ms: 20,
  stages: { decode: 1.5 },
};

function pictureMessage(header: unknown, jpeg: readonly number[], claimed?: number): ArrayBuffer {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(4 + json.length + jpeg.length);
  new DataView(bytes.buffer).setUint32(0, claimed ?? json.length, true);
  bytes.set(json, 4);
  bytes.set(jpeg, 4 + json.length);
  return bytes.buffer;
}

describe("a picture", () => {
  test("is its header and its JPEG, not copied", () => {
    const message = pictureMessage(HEADER, [0xff, 0xd8]);
    const parsed = parsePicture(message);
    expect(parsed.ok && parsed.value.header.stages).toEqual({ decode: 1.5 });
    expect(parsed.ok && parsed.value.header.sizeWh).toEqual([640, 480]);
    expect(parsed.ok && [...parsed.value.jpeg]).toEqual([0xff, 0xd8]);
    expect(parsed.ok && parsed.value.jpeg.buffer).toBe(message);
  });

  test("without a synchronised clock has no capture time", () => {
    const message = pictureMessage({ ...HEADER, captured_ms: null, error_ms: null }, []);
    const parsed = parsePicture(message);
    expect(parsed.ok && parsed.value.header.capturedMs).toBeNull();
  });

  test.each([
    ["shorter than its length field", new ArrayBuffer(3)],
    ["with a header longer than itself", pictureMessage(HEADER, [], 1_000_000)],
    ["with a header cut short", pictureMessage(HEADER, [], 20)],
    ["with a stage that is no number", pictureMessage({ ...HEADER, stages: { a: "1" } }, [])],
    ["with a header that is no object", pictureMessage([], [])],
  ])("%s is refused", (_, message) => {
    expect(parsePicture(message).ok).toBe(false);
  });
});
