/** Hand-written stand-ins for a signalling socket, a peer connection and a camera track. */
import type { OpenSocket, SignalEvent, SignalSocket } from "../src/signalling.ts";

export const WELCOME = {
  stream_id: "s1",
  resume: "resume-1",
  ice_servers: [{ urls: "stun:192.0.2.1" }],
  video: { width: 640, height: 480, frame_rate: 30 },
  class_names: ["person"],
};

export class FakeSocket implements SignalSocket {
  readonly sent: [event: string, payload: unknown][] = [];
  isClosed = false;
  /** What `offer` is acknowledged with; a rejection when it is an Error. */
  answer: unknown = { sdp: "answer" };
  readonly auth: Record<string, unknown>;
  readonly #listeners = new Map<SignalEvent, (payload: unknown) => void>();

  constructor(auth: Record<string, unknown>) {
    this.auth = auth;
  }

  on(event: SignalEvent, listener: (payload: unknown) => void): void {
    this.#listeners.set(event, listener);
  }

  send(event: string, payload: unknown): void {
    this.sent.push([event, payload]);
  }

  async request(event: string, payload: unknown): Promise<unknown> {
    this.sent.push([event, payload]);
    if (this.answer instanceof Error) throw this.answer;
    return this.answer;
  }

  close(): void {
    this.isClosed = true;
  }

  emit(event: SignalEvent, payload?: unknown): void {
    this.#listeners.get(event)?.(payload);
  }
}

/** Opens fakes and keeps them in the order they were asked for. */
export class FakeServer {
  readonly sockets: FakeSocket[] = [];
  answer: unknown = { sdp: "answer" };

  readonly open: OpenSocket = (auth) => {
    const socket = new FakeSocket(auth);
    socket.answer = this.answer;
    this.sockets.push(socket);
    return socket;
  };

  get last(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("no socket was opened");
    return socket;
  }
}

export class FakeChannel extends EventTarget {
  readonly sent: string[] = [];
  readyState: RTCDataChannelState = "connecting";
  readonly label: string;
  readonly init: RTCDataChannelInit;

  constructor(label: string, init: RTCDataChannelInit) {
    super();
    this.label = label;
    this.init = init;
  }

  send(text: string): void {
    if (this.readyState !== "open") throw new Error("the channel is not open");
    this.sent.push(text);
  }

  open(): void {
    this.readyState = "open";
    this.dispatchEvent(new Event("open"));
  }

  receive(message: unknown): void {
    const data = typeof message === "string" ? message : JSON.stringify(message);
    this.dispatchEvent(new MessageEvent("message", { data }));
  }

  closeByServer(): void {
    this.readyState = "closed";
    this.dispatchEvent(new Event("close"));
  }
}

export class FakeTrack {
  settings: MediaTrackSettings = { width: 640, height: 480, frameRate: 30 };
  readonly applied: MediaTrackConstraints[] = [];
  kind = "video";
  contentHint = "";

  getSettings(): MediaTrackSettings {
    return this.settings;
  }

  async applyConstraints(constraints: MediaTrackConstraints): Promise<void> {
    this.applied.push(constraints);
  }

  get asTrack(): MediaStreamTrack {
    return this as unknown as MediaStreamTrack;
  }
}

export class FakeSender {
  track: FakeTrack;
  readonly parameters: RTCRtpSendParameters[] = [];

  constructor(track: FakeTrack) {
    this.track = track;
  }

  getParameters(): RTCRtpSendParameters {
    return { encodings: [{}] } as unknown as RTCRtpSendParameters;
  }

  async setParameters(parameters: RTCRtpSendParameters): Promise<void> {
    this.parameters.push(parameters);
  }

  async replaceTrack(track: FakeTrack): Promise<void> {
    this.track = track;
  }
}

export class FakePeer extends EventTarget {
  connectionState: RTCPeerConnectionState = "new";
  iceGatheringState: RTCIceGatheringState = "new";
  localDescription: RTCSessionDescriptionInit | null = null;
  remoteDescription: RTCSessionDescriptionInit | null = null;
  sender: FakeSender | null = null;
  direction: string | undefined;
  readonly channels = new Map<string, FakeChannel>();
  readonly configuration: RTCConfiguration;
  /** Candidates never complete: what a silent STUN server does. */
  static gathersForEver = false;

  constructor(configuration: RTCConfiguration) {
    super();
    this.configuration = configuration;
  }

  createDataChannel(label: string, init: RTCDataChannelInit): FakeChannel {
    const channel = new FakeChannel(label, init);
    this.channels.set(label, channel);
    return channel;
  }

  addTransceiver(track: FakeTrack, init: RTCRtpTransceiverInit): { sender: FakeSender } {
    this.sender = new FakeSender(track);
    this.direction = init.direction;
    return { sender: this.sender };
  }

  async createOffer(): Promise<RTCSessionDescriptionInit> {
    return { type: "offer", sdp: "offer" };
  }

  async setLocalDescription(description: RTCSessionDescriptionInit): Promise<void> {
    this.localDescription = { ...description, sdp: "offer with candidates" };
    if (!FakePeer.gathersForEver) this.iceGatheringState = "complete";
  }

  async setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
    this.remoteDescription = description;
  }

  async getStats(): Promise<Map<string, unknown>> {
    return new Map<string, unknown>([
      ["1", { type: "outbound-rtp", kind: "video", framesPerSecond: 29 }],
      ["2", { type: "remote-inbound-rtp", kind: "video", roundTripTime: 0.02, fractionLost: 0.1 }],
    ]);
  }

  close(): void {
    this.connectionState = "closed"; // by ourselves: no event, as in browsers
  }

  become(state: RTCPeerConnectionState): void {
    this.connectionState = state;
    this.dispatchEvent(new Event("connectionstatechange"));
  }

  channel(label: string): FakeChannel {
    const channel = this.channels.get(label);
    if (!channel) throw new Error(`there is no channel ${label}`);
    return channel;
  }
}
