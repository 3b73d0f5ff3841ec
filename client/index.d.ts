/** What follows a close: the server side has the same table (`channels.close_codes`). */
export type Sequel = "final" | "again" | "spread" | "refused";
export declare const FINAL: "final";
export declare const AGAIN: "again";
export declare const SPREAD: "spread";
export declare const REFUSED: "refused";
export declare function sequel(code: number): Sequel;

/** `waiting` for the next attempt; `closed` by the page; `failed` for good. */
export type Status = "connecting" | "open" | "waiting" | "closed" | "failed";

/** What the page knows of the next attempt, or of the last connection. */
export interface ReconnectingCloseEvent extends Event {
  readonly code: number;
  readonly reason: string;
  readonly wasClean: boolean;
  /** Whether the socket will connect again. */
  readonly reconnects: boolean;
}

export interface StatusEvent extends Event {
  readonly status: Status;
  /** Milliseconds until the next attempt, of `waiting`. */
  readonly delay?: number;
  /** The close code, of `waiting`, `closed` and `failed`. */
  readonly code?: number;
  readonly reason?: string;
  /** Of `open`. */
  readonly transport?: "websocket" | "sse";
}

export type Data = string | ArrayBufferLike | Blob | ArrayBufferView;

/** Something that the page has sent, and that will never be sent. */
export interface DropEvent extends Event {
  readonly data: Data;
}

/** The answer to `refresh()`. */
export interface TokenEvent extends Event {
  /** Seconds until the new token expires; null if it does not. */
  readonly expiresIn?: number | null;
  /** "unavailable": the token cannot be verified now. Try again later. */
  readonly error?: string;
}

/** What to connect with: nothing for the same as always, `false` for not at all. */
export type Fresh =
  | void
  | undefined
  | null
  | false
  | string
  | { url?: string; protocols?: string | string[] };

export interface Options {
  /** Subprotocols, as the second argument of `WebSocket`. */
  protocols?: string | string[];
  /**
   * Milliseconds: the delay before an attempt is a random part of this, doubled with each attempt
   * that fails (default 1000).
   */
  minDelay?: number;
  /** Milliseconds: the largest such limit (default 30,000). */
  maxDelay?: number;
  /** Milliseconds over which clients come back that the server has told to (default 5000). */
  spread?: number;
  /** Milliseconds after which an attempt has failed, `before` included (default 10,000). */
  connectTimeout?: number;
  /** Milliseconds of silence after which the server is asked for a sign of life; 0: never (25,000). */
  heartbeat?: number;
  /** Milliseconds that the server has for that (default 10,000). */
  heartbeatTimeout?: number;
  /** How many messages wait for a connection (default 100). */
  queue?: number;
  /** Whether to try server-sent events where WebSockets are blocked (default true). */
  fallback?: boolean;
  /**
   * Called before each attempt: fetch a fresh token, or return `false` to stop. When it fails, so
   * does the attempt.
   */
  before?: (about: {
    url: string;
    /** How many attempts have failed since a connection held. */
    attempt: number;
    /** The close event before this attempt. */
    close?: ReconnectingCloseEvent;
  }) => Fresh | Promise<Fresh>;
  /** Decides whether to come back after a close; `undefined` leaves it to the table of codes. */
  reconnects?: (close: ReconnectingCloseEvent) => boolean | undefined;
  /** Instead of the global one. */
  WebSocket?: unknown;
  /** Instead of the global one. */
  fetch?: typeof fetch;
}

export interface ReconnectingSocketEventMap {
  open: Event;
  message: MessageEvent;
  close: ReconnectingCloseEvent;
  error: Event & { readonly error?: unknown };
  statuschange: StatusEvent;
  drop: DropEvent;
  token: TokenEvent;
}

type Handler<K extends keyof ReconnectingSocketEventMap> =
  | ((event: ReconnectingSocketEventMap[K]) => unknown)
  | null;

/** A WebSocket that comes back. It has the interface of the browser's `WebSocket`. */
export declare class ReconnectingSocket extends EventTarget {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSING: 2;
  static readonly CLOSED: 3;
  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSING: 2;
  readonly CLOSED: 3;

  constructor(url: string | URL, protocols?: string | string[], options?: Options);
  constructor(url: string | URL, options: Options);

  readonly url: string;
  readonly protocol: string;
  readonly extensions: string;
  readonly bufferedAmount: number;
  readonly readyState: 0 | 1 | 2 | 3;
  readonly status: Status;
  readonly transport: "websocket" | "sse";
  binaryType: "blob" | "arraybuffer";

  /** On every connection, the first and those after it. */
  onopen: Handler<"open">;
  onmessage: Handler<"message">;
  /** At the end of every connection and of every attempt that fails. */
  onclose: Handler<"close">;
  onerror: Handler<"error">;
  onstatuschange: Handler<"statuschange">;
  ondrop: Handler<"drop">;
  ontoken: Handler<"token">;

  /** Send now, or when there is a connection. What there is no room for goes to `drop`. */
  send(data: Data): void;
  /** Show the server a newer token, if there is a connection: it lasts as long as that. */
  refresh(token: string): void;
  /** Close the connection, and make none again. */
  close(code?: number, reason?: string): void;
  /** Connect now, not only when the time has come; also after the server has refused for good. */
  reconnect(): void;

  addEventListener<K extends keyof ReconnectingSocketEventMap>(
    type: K,
    listener: (event: ReconnectingSocketEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof ReconnectingSocketEventMap>(
    type: K,
    listener: (event: ReconnectingSocketEventMap[K]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}
