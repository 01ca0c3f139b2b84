/**
 * The signalling conversation of docs/protocol.md §1.1 over Socket.IO.
 *
 * {@link SignalSocket} is the little of Socket.IO that is needed, so that tests pass a fake.
 */
import { io } from "socket.io-client";

export type SignalEvent = "connect_error" | "welcome" | "removed" | "disconnect";

export interface SignalSocket {
  on(event: SignalEvent, listener: (payload: unknown) => void): void;
  send(event: string, payload: unknown): void;
  /** Rejects when the server has not acknowledged within `timeoutMs`. */
  request(event: string, payload: unknown, timeoutMs: number): Promise<unknown>;
  close(): void;
}

/** Where the media server answers, as the page sees it. */
export interface SignalAddress {
  /** Origin, e.g. `https://192.168.1.7:8765`; the page's own when left out. */
  readonly origin?: string;
  /** Path of the Socket.IO endpoint, with both slashes. */
  readonly path: string;
}

export type OpenSocket = (auth: Record<string, unknown>) => SignalSocket;

/**
 * A function that opens a new conversation each time it is called.
 *
 * Long polling comes first and is upgraded when WebSocket works: Safari on iOS refuses `wss://` to a
 * self-signed origin without a word, and this order gets through all the same. Reconnecting is the
 * caller's, because each conversation needs other credentials and a new peer connection.
 */
export function socketIoOpener(address: SignalAddress): OpenSocket {
  return (auth) => {
    const socket = io(address.origin ?? location.origin, {
      path: address.path,
      auth,
      forceNew: true,
      reconnection: false,
      transports: ["polling", "websocket"],
    });
    return {
      on(event, listener) {
        // `data` of connect_error is what the server refused with; without it, it did not answer.
        if (event === "connect_error") {
          socket.on("connect_error", (error) => listener((error as { data?: unknown }).data));
        } else {
          socket.on(event, listener);
        }
      },
      send: (event, payload) => void socket.emit(event, payload),
      request: (event, payload, timeoutMs) => socket.timeout(timeoutMs).emitWithAck(event, payload),
      close: () => void socket.disconnect(),
    };
  };
}
