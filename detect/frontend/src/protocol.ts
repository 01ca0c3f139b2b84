/**
 * Types and checks of everything that crosses the network, as docs/protocol.md lays it down.
 *
 * This is the one file that knows the names on the wire (snake_case) and the one place where
 * `unknown` becomes a typed value. Parsers never throw: a message that breaks the rules gives
 * `{ ok: false, error }`, which callers count and drop.
 */

import {
  asArray,
  asInteger,
  asNumber,
  asNumberOrNull,
  asObject,
  asPositive,
  asString,
  asStrings,
  attempt,
  type Fields,
  fail,
  type Parsed,
} from "./checks.ts";

export type { Parsed } from "./checks.ts";

export const PROTOCOL_VERSION = 1;

/** Width and height in pixels. */
export type SizeWh = readonly [number, number];

/** One detected object, in pixels of the picture it was found in. */
export interface Box {
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
  /** Confidence in [0, 1]. */
  readonly score: number;
  /** Index into the model's class names. */
  readonly classId: number;
  /** Number of the track, below 0 where there is none. */
  readonly trackId: number;
}

/** What the server tells a phone it has let in. */
export interface Welcome {
  readonly streamId: string;
  /** Secret that brings this phone, and no other, back to its stream. */
  readonly resume: string;
  readonly iceServers: RTCIceServer[];
  /** What the server would like the camera to give. */
  readonly video: VideoProfile;
  readonly classNames: readonly string[];
}

export interface VideoProfile {
  readonly width: number;
  readonly height: number;
  /** Frames per second. */
  readonly frameRate: number;
}

/** A refusal or removal: a code for programs, a sentence for people. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
}

/** Server → phone on the `control` channel. */
export type ControlMessage =
  | { readonly type: "ping"; readonly id: number; readonly serverMs: number }
  | ({ readonly type: "profile"; readonly maxBitrateBps: number } & VideoProfile)
  | ({ readonly type: "notice" } & Refusal);

/** Server → phone on the `results` channel: the boxes of one frame. */
export interface Results {
  readonly rtp: number;
  readonly sizeWh: SizeWh;
  readonly boxes: readonly Box[];
  /** Captured → sent; null while the clocks are not synchronised. */
  readonly ageMs: number | null;
  /** Received → sent. */
  readonly processingMs: number;
  readonly model: string;
}

export type StreamState = "waiting" | "connecting" | "live" | "stalled" | "ended";
const STREAM_STATES: readonly string[] = ["waiting", "connecting", "live", "stalled", "ended"];

/** Server → viewer, text. */
export type ViewerMessage =
  | {
      readonly type: "hello";
      readonly protocol: number;
      readonly classNames: readonly string[];
      readonly model: string;
    }
  | { readonly type: "ping"; readonly id: number; readonly serverMs: number }
  | {
      readonly type: "stream";
      readonly streamId: string | null;
      readonly state: StreamState;
      readonly name: string;
      readonly message: string;
    };

/** Header of a binary message to a viewer: one picture's boxes and times. */
export interface PictureHeader {
  readonly seq: number;
  readonly streamId: string;
  readonly rtp: number;
  /** Size the boxes refer to; the JPEG may be smaller. */
  readonly sizeWh: SizeWh;
  readonly boxes: readonly Box[];
  readonly model: string;
  /** In viewer time; null while a clock is not synchronised. */
  readonly capturedMs: number | null;
  /** Bounds the error of `capturedMs`. */
  readonly errorMs: number | null;
  readonly processingMs: number;
  /** Durations known at sending, by stage name. */
  readonly stages: Readonly<Record<string, number>>;
}

export interface Picture {
  readonly header: PictureHeader;
  /** A view into the message, not a copy. */
  readonly jpeg: Uint8Array<ArrayBuffer>;
}

// ── values ──────────────────────────────────────────────────────────────────────────────────────

function asRtp(name: string, value: unknown): number {
  const number = asInteger(name, value);
  return number >= 0 && number < 2 ** 32 ? number : fail(name, "0 to 2^32 - 1", value);
}

function asSizeWh(name: string, value: unknown): SizeWh {
  const size = asArray(name, value);
  if (size.length !== 2) return fail(name, "[width, height]", value);
  return [asPositive(`${name}[0]`, size[0]), asPositive(`${name}[1]`, size[1])];
}

function asBox(name: string, value: unknown): Box {
  const row = asArray(name, value);
  if (row.length !== 7) return fail(name, "7 numbers", value);
  const at = (i: number): number => asNumber(`${name}[${i}]`, row[i]);
  return {
    x1: at(0),
    y1: at(1),
    x2: at(2),
    y2: at(3),
    score: at(4),
    classId: asInteger(`${name}[5]`, row[5]),
    trackId: asInteger(`${name}[6]`, row[6]),
  };
}

function asBoxes(value: unknown): Box[] {
  return asArray("boxes", value).map((row, i) => asBox(`boxes[${i}]`, row));
}

function asProfile(fields: Fields): VideoProfile {
  return {
    width: asPositive("width", fields.width),
    height: asPositive("height", fields.height),
    frameRate: asPositive("frame_rate", fields.frame_rate),
  };
}

function asRefusal(fields: Fields): Refusal {
  return { code: asString("code", fields.code), message: asString("message", fields.message) };
}

function asIceServer(name: string, value: unknown): RTCIceServer {
  const fields = asObject(name, value);
  const urls = fields.urls;
  const server: RTCIceServer = {
    urls: Array.isArray(urls) ? asStrings(`${name}.urls`, urls) : asString(`${name}.urls`, urls),
  };
  if (typeof fields.username === "string") server.username = fields.username;
  if (typeof fields.credential === "string") server.credential = fields.credential;
  return server;
}

// ── phone ⇄ server ──────────────────────────────────────────────────────────────────────────────

/** `auth` of the Socket.IO connection: how this page may come in. */
export type Credential =
  | { readonly kind: "pair"; readonly token: string }
  | { readonly kind: "resume"; readonly token: string }
  | { readonly kind: "local"; readonly name: string };

/** @param deviceName a word for the device, shown on the dashboard; a local source has its own */
export function authPayload(credential: Credential, deviceName: string): Record<string, unknown> {
  const base = { protocol: PROTOCOL_VERSION };
  return credential.kind === "local"
    ? { ...base, local: credential.name }
    : { ...base, [credential.kind]: credential.token, name: deviceName };
}

export function parseWelcome(payload: unknown): Parsed<Welcome> {
  return attempt(() => {
    const fields = asObject("welcome", payload);
    const servers = asArray("ice_servers", fields.ice_servers);
    return {
      streamId: asString("stream_id", fields.stream_id),
      resume: asString("resume", fields.resume),
      iceServers: servers.map((item, i) => asIceServer(`ice_servers[${i}]`, item)),
      video: asProfile(asObject("video", fields.video)),
      classNames: asStrings("class_names", fields.class_names),
    };
  });
}

/** The `data` of a refused connection, the payload of `removed`, or an offer's `error`. */
export function parseRefusal(payload: unknown): Parsed<Refusal> {
  return attempt(() => asRefusal(asObject("refusal", payload)));
}

export type OfferAnswer =
  | { readonly kind: "answer"; readonly sdp: string }
  | { readonly kind: "refused"; readonly refusal: Refusal };

export function parseOfferAck(payload: unknown): Parsed<OfferAnswer> {
  return attempt(() => {
    const fields = asObject("answer to offer", payload);
    if (fields.error !== undefined && fields.error !== null) {
      return { kind: "refused", refusal: asRefusal(asObject("error", fields.error)) };
    }
    return { kind: "answer", sdp: asString("sdp", fields.sdp) };
  });
}

export function parseControl(text: string): Parsed<ControlMessage> {
  return attempt((): ControlMessage => {
    const fields = asObject("control message", JSON.parse(text));
    switch (fields.type) {
      case "ping":
        return {
          type: "ping",
          id: asInteger("id", fields.id),
          serverMs: asNumber("server_ms", fields.server_ms),
        };
      case "profile":
        return {
          type: "profile",
          ...asProfile(fields),
          maxBitrateBps: asPositive("max_bitrate_bps", fields.max_bitrate_bps),
        };
      case "notice":
        return { type: "notice", ...asRefusal(fields) };
      default:
        return fail("type", "ping, profile or notice", fields.type);
    }
  });
}

export function parseResults(text: string): Parsed<Results> {
  return attempt(() => {
    const fields = asObject("results", JSON.parse(text));
    return {
      rtp: asRtp("rtp", fields.rtp),
      sizeWh: asSizeWh("size_wh", fields.size_wh),
      boxes: asBoxes(fields.boxes),
      ageMs: asNumberOrNull("age_ms", fields.age_ms),
      processingMs: asNumber("processing_ms", fields.processing_ms),
      model: asString("model", fields.model),
    };
  });
}

/** Answer to a ping, the same on the phone's control channel and the viewer's socket. */
export function pongText(pong: {
  readonly id: number;
  readonly serverMs?: number;
  readonly receivedMs: number;
  readonly repliedMs: number;
}): string {
  return JSON.stringify({
    type: "pong",
    id: pong.id,
    server_ms: pong.serverMs, // left out when undefined: viewers do not echo it
    received_ms: pong.receivedMs,
    replied_ms: pong.repliedMs,
  });
}

export type Facing = "environment" | "user";
export type TrackCondition = "live" | "muted" | "ended";

/** What a phone tells about itself, on change. */
export interface PhoneCondition {
  readonly facing: Facing | null;
  readonly track: TrackCondition;
  readonly visible: boolean;
}

export function stateText(condition: PhoneCondition): string {
  return JSON.stringify({ type: "state", ...condition });
}

// ── viewer ⇄ server ─────────────────────────────────────────────────────────────────────────────

export function watchText(streamId: string | null): string {
  return JSON.stringify({ type: "watch", stream_id: streamId });
}

export function ackText(seq: number): string {
  return JSON.stringify({ type: "ack", seq });
}

/** @param times both in viewer time */
export function drawnText(
  seq: number,
  times: { readonly arrivedMs: number; readonly drawnMs: number },
): string {
  const { arrivedMs, drawnMs } = times;
  return JSON.stringify({ type: "drawn", seq, arrived_ms: arrivedMs, drawn_ms: drawnMs });
}

export function visibleText(isVisible: boolean): string {
  return JSON.stringify({ type: "visible", value: isVisible });
}

function asStreamState(value: unknown): StreamState {
  const state = asString("state", value);
  return STREAM_STATES.includes(state)
    ? (state as StreamState)
    : fail("state", STREAM_STATES.join(", "), value);
}

export function parseViewerText(text: string): Parsed<ViewerMessage> {
  return attempt((): ViewerMessage => {
    const fields = asObject("viewer message", JSON.parse(text));
    switch (fields.type) {
      case "hello":
        return {
          type: "hello",
          protocol: asInteger("protocol", fields.protocol),
          classNames: asStrings("class_names", fields.class_names),
          model: asString("model", fields.model),
        };
      case "ping":
        return {
          type: "ping",
          id: asInteger("id", fields.id),
          serverMs: asNumber("server_ms", fields.server_ms),
        };
      case "stream":
        return {
          type: "stream",
          streamId: fields.stream_id === null ? null : asString("stream_id", fields.stream_id),
          state: asStreamState(fields.state),
          name: asString("name", fields.name),
          message: asString("message", fields.message),
        };
      default:
        return fail("type", "hello, ping or stream", fields.type);
    }
  });
}

function asStages(value: unknown): Record<string, number> {
  const entries = Object.entries(asObject("stages", value));
  return Object.fromEntries(entries.map(([name, ms]) => [name, asNumber(`stages.${name}`, ms)]));
}

function asPictureHeader(value: unknown): PictureHeader {
  const fields = asObject("picture header", value);
  return {
    seq: asInteger("seq", fields.seq),
    streamId: asString("stream_id", fields.stream_id),
    rtp: asRtp("rtp", fields.rtp),
    sizeWh: asSizeWh("size_wh", fields.size_wh),
    boxes: asBoxes(fields.boxes),
    model: asString("model", fields.model),
    capturedMs: asNumberOrNull("captured_ms", fields.captured_ms),
    errorMs: asNumberOrNull("error_ms", fields.error_ms),
    processingMs: asNumber("processing_ms", fields.processing_ms),
    stages: asStages(fields.stages),
  };
}

const LENGTH_BYTES = 4;

/** Split a binary message into its header and its JPEG. */
export function parsePicture(message: ArrayBuffer): Parsed<Picture> {
  return attempt(() => {
    if (message.byteLength < LENGTH_BYTES) {
      return fail("picture", "a header length", `${message.byteLength} bytes`);
    }
    const nHeaderBytes = new DataView(message).getUint32(0, true);
    const jpegStart = LENGTH_BYTES + nHeaderBytes;
    if (jpegStart > message.byteLength) {
      return fail("header length", `at most ${message.byteLength - LENGTH_BYTES}`, nHeaderBytes);
    }
    const text = new TextDecoder().decode(new Uint8Array(message, LENGTH_BYTES, nHeaderBytes));
    return {
      header: asPictureHeader(JSON.parse(text)),
      jpeg: new Uint8Array(message, jpegStart),
    };
  });
}
