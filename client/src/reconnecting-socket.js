/** A WebSocket that comes back. */

import { AGAIN, FINAL, REFUSED, SPREAD, sequel } from "./close-codes.js";
import { CLOSED, CLOSING, CONNECTING, OPEN, closeEvent, copyOf } from "./common.js";
import { EventStreamSocket } from "./event-stream.js";

// The server answers this frame by itself; no consumer ever sees it.
const PROBE = '{"type":"channels.ping"}';
const ANSWER = '{"type":"channels.pong"}';
// How a frame begins that shows a newer token, and its answer.
const TOKEN = '{"type":"channels.token"';

// Milliseconds after which a connection counts as one that holds.
const STABLE = 10_000;
// Closes in a row because of what the page sent, and failed handshakes in a row while HTTP answers.
const TOO_MANY = 3;
// Milliseconds to wait for the other side's close.
const CLOSE_PATIENCE = 3000;
// Milliseconds to wait for an answer when somebody looks at the page.
const LOOK_PATIENCE = 4000;

const DEFAULTS = {
  minDelay: 1000,
  maxDelay: 30_000,
  spread: 5000,
  connectTimeout: 10_000,
  heartbeat: 25_000,
  heartbeatTimeout: 10_000,
  queue: 100,
  fallback: true,
};

const EVENTS = ["open", "message", "close", "error", "statuschange", "drop", "token"];

const random = (limit) => Math.random() * limit;

export class ReconnectingSocket extends EventTarget {
  static CONNECTING = CONNECTING;
  static OPEN = OPEN;
  static CLOSING = CLOSING;
  static CLOSED = CLOSED;

  CONNECTING = CONNECTING;
  OPEN = OPEN;
  CLOSING = CLOSING;
  CLOSED = CLOSED;

  readyState = CONNECTING;
  /** "connecting", "open", "waiting", "closed" (by the page) or "failed" (for good). */
  status = "";

  #url;
  #protocols;
  #options;
  #attempt; // the present one, or the one that has led to the connection
  #link; // its WebSocket, or what stands for one
  #binaryType = "blob";
  #queue = [];
  #attempts = 0; // since a connection held
  #refused = 0; // closes in a row because of what the page sent
  #blocked = 0; // failed handshakes in a row while HTTP answers
  #streams = false; // WebSockets are blocked, so server-sent events are tried
  #openedAt = 0;
  #heard = 0;
  #answered = false; // a probe, once
  #unanswered = 0; // probes that cost a connection, while none was ever answered
  #last; // the close before this attempt
  #timer; // of the next attempt, the present one, or the end
  #pulse; // of the heartbeat
  #listening = new AbortController();

  /**
   * @param url as for `WebSocket`; relative to the page, too.
   * @param protocols as for `WebSocket`; may be left out.
   * @param options see index.d.ts.
   */
  constructor(url, protocols, options) {
    super();
    if (protocols && typeof protocols === "object" && !Array.isArray(protocols)) {
      options = protocols;
      protocols = undefined;
    }
    this.#options = { ...DEFAULTS, ...options };
    this.#url = this.#absolute(url);
    this.#protocols = protocols || this.#options.protocols;
    for (const type of EVENTS) {
      this["on" + type] = null;
      this.addEventListener(type, (event) => this["on" + type]?.(event));
    }
    const { signal } = this.#listening;
    for (const type of ["online", "pageshow"]) {
      globalThis.addEventListener?.(type, () => this.#look(type), { signal });
    }
    globalThis.document?.addEventListener("visibilitychange", () => this.#look(), { signal });
    this.#connect();
  }

  get url() {
    return this.#url;
  }

  get protocol() {
    return this.#link?.protocol ?? "";
  }

  get extensions() {
    return this.#link?.extensions ?? "";
  }

  get bufferedAmount() {
    return this.#link?.bufferedAmount ?? 0;
  }

  get binaryType() {
    return this.#binaryType;
  }

  set binaryType(type) {
    this.#binaryType = type;
    if (this.#link) this.#link.binaryType = type;
  }

  /** "websocket", or "sse" where WebSockets are blocked. */
  get transport() {
    return this.#streams ? "sse" : "websocket";
  }

  /** Send now, or when there is a connection. What there is no room for goes to `drop`. */
  send(data) {
    if (this.readyState === OPEN && this.#link.readyState === OPEN) this.#link.send(data);
    else if (this.readyState < CLOSING && this.#queue.length < this.#options.queue) {
      this.#queue.push(copyOf(data));
    } else this.#emit("drop", { data });
  }

  /** Show the server a newer token: the connection lasts as long. The answer comes as `token`. */
  refresh(token) {
    if (this.readyState === OPEN) this.#link.send(`${TOKEN},"token":${JSON.stringify(token)}}`);
  }

  /** Close the connection, and make none again. */
  close(code, reason) {
    if (code !== undefined && code !== 1000 && !(code >= 3000 && code < 5000)) {
      throw new DOMException(`${code} is no close code for pages`, "InvalidAccessError");
    }
    if (this.readyState >= CLOSING) return;
    this.readyState = CLOSING;
    this.#stopTimers();
    const end = () => this.#lost(closeEvent(1006, "", false));
    this.#timer = setTimeout(end, this.#link ? CLOSE_PATIENCE : 0);
    this.#link?.close(code, reason);
  }

  /** Connect now, not only when the time has come; also after the server has refused for good. */
  reconnect() {
    if (this.status === "failed") this.#attempts = this.#refused = this.#blocked = 0;
    if (this.status === "failed" || this.status === "waiting") this.#connect();
  }

  #absolute(url) {
    const absolute = new URL(url, globalThis.document?.baseURI);
    absolute.protocol = absolute.protocol.replace("http", "ws");
    absolute.hash = "";
    return absolute.href;
  }

  #emit(type, details) {
    this.dispatchEvent(Object.assign(new Event(type), details));
  }

  #become(status, details) {
    this.status = status;
    this.#emit("statuschange", { status, ...details });
  }

  #stopTimers() {
    clearTimeout(this.#timer);
    clearTimeout(this.#pulse);
  }

  // The beginning

  #connect() {
    this.#stopTimers();
    const attempt = (this.#attempt = {});
    const { before, connectTimeout } = this.#options;
    this.readyState = CONNECTING;
    this.#timer = setTimeout(() => this.#lost(closeEvent(1006, "", false)), connectTimeout);
    this.#become("connecting");
    if (before) this.#prepare(attempt, before);
    else this.#open(attempt, this.#url, this.#protocols);
  }

  /** Ask the page what to connect with. */
  async #prepare(attempt, before) {
    let fresh;
    try {
      fresh = await before({ url: this.#url, attempt: this.#attempts, close: this.#last });
      if (typeof fresh === "string") fresh = { url: fresh };
    } catch (error) {
      if (attempt !== this.#attempt) return;
      this.#emit("error", { error });
      return this.#lost(closeEvent(1006, "", false));
    }
    if (fresh === false) {
      if (attempt === this.#attempt) this.#end("failed", closeEvent(1006, "", false));
    } else {
      const { url = this.#url, protocols = this.#protocols } = fresh ?? {};
      this.#open(attempt, this.#absolute(url), protocols);
    }
  }

  #open(attempt, url, protocols) {
    if (attempt !== this.#attempt) return; // the page has closed it meanwhile
    const { WebSocket = globalThis.WebSocket, fetch = globalThis.fetch } = this.#options;
    let link;
    try {
      link = this.#streams
        ? new EventStreamSocket(url, protocols, fetch.bind(globalThis))
        : new WebSocket(url, protocols ?? []);
    } catch (error) {
      this.#emit("error", { error });
      return this.#end("failed", closeEvent(1006, error.message, false));
    }
    this.#link = link;
    link.binaryType = this.#binaryType;
    const whileThisOne = (handle) => (event) => attempt === this.#attempt && handle(event);
    link.onopen = whileThisOne(() => this.#opened());
    link.onmessage = whileThisOne(({ data }) => this.#received(data));
    link.onerror = whileThisOne(() => {
      this.#emit("error");
      // Browsers send a close with it, Node.js does not after a handshake that has failed.
      setTimeout(whileThisOne(() => this.#lost(closeEvent(1006, "", false))));
    });
    link.onclose = whileThisOne(({ code, reason, wasClean }) =>
      this.#lost(closeEvent(code, reason, wasClean)),
    );
  }

  #opened() {
    if (this.readyState !== CONNECTING) return;
    clearTimeout(this.#timer);
    this.#openedAt = this.#heard = Date.now();
    this.#blocked = 0;
    this.readyState = OPEN;
    // What the page sends as it opens (who it is, what it wants) comes before what has waited.
    const waiting = this.#queue.splice(0);
    this.#become("open", { transport: this.transport });
    this.#emit("open");
    for (const data of waiting) this.send(data);
    this.#beat();
  }

  #received(data) {
    this.#heard = Date.now();
    if (data === ANSWER) this.#answered = true;
    else if (data.startsWith?.(TOKEN)) {
      const { expires_in: expiresIn, error } = JSON.parse(data);
      this.#emit("token", { expiresIn, error });
    } else this.dispatchEvent(new MessageEvent("message", { data }));
  }

  // The heartbeat

  #beat() {
    const { heartbeat, heartbeatTimeout } = this.#options;
    clearTimeout(this.#pulse);
    if (!heartbeat || this.readyState !== OPEN) return;
    const left = this.#heard + heartbeat - Date.now();
    if (left > 0) this.#pulse = setTimeout(() => this.#beat(), left);
    else this.#probe(heartbeatTimeout);
  }

  /** See whether the server is there. It need not be one that knows the question. */
  #probe(patience) {
    if (!this.#options.heartbeat || this.#unanswered >= TOO_MANY) return;
    clearTimeout(this.#pulse);
    const link = this.#link;
    const asked = Date.now();
    const unsent = link.bufferedAmount;
    link.send(PROBE);
    this.#pulse = setTimeout(() => {
      // The question still waits behind what the page has sent, and that gets through.
      if (link.bufferedAmount < unsent) this.#heard = Date.now();
      if (this.#heard >= asked) return this.#beat();
      if (!this.#answered) this.#unanswered++;
      this.#lost(closeEvent(1006, "The server is silent", false));
    }, patience);
  }

  /** There is a network again, or somebody looks at the page. */
  #look(type) {
    if (globalThis.document?.hidden) return;
    if (type === "online") this.#streams = false;
    if (this.status === "waiting") this.#connect();
    else if (this.readyState === OPEN) this.#probe(LOOK_PATIENCE);
  }

  // The end

  /** The connection, or the attempt at one, has ended. */
  #lost(event) {
    const link = this.#link;
    const opened = this.#openedAt;
    this.#stopTimers();
    this.#attempt = this.#link = undefined;
    this.#openedAt = 0;
    link?.close();
    if (this.readyState === CLOSING) return this.#end("closed", event);
    if (opened && Date.now() - opened >= STABLE) this.#attempts = this.#refused = 0;
    this.#last = event;
    const { minDelay, maxDelay, spread } = this.#options;
    const next = this.#whatFollows(event, link, opened);
    if (next === FINAL) return this.#end("failed", event);
    // "Full jitter": Marc Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
    const limit = Math.min(maxDelay, minDelay * 2 ** this.#attempts++);
    const delay = random(next === SPREAD ? Math.max(limit, spread) : limit);
    this.readyState = CONNECTING;
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#tell("waiting", event, { delay });
  }

  #whatFollows(event, link, opened) {
    let next = sequel(event.code);
    if (next === REFUSED && ++this.#refused >= TOO_MANY) next = FINAL;
    const own = this.#options.reconnects?.(event);
    if (own !== undefined && own !== (next !== FINAL)) next = own ? AGAIN : FINAL;
    if (opened && this.#streams) {
      // WebSockets may not be blocked any more. If they are, one handshake shows it.
      this.#streams = false;
      this.#blocked = TOO_MANY - 1;
    } else if (!opened && next !== FINAL && this.#options.fallback) {
      if (!this.#streams) this.#ask();
      else if (link?.refused) next = FINAL;
      else {
        this.#streams = false;
        this.#blocked = 0;
      }
    }
    return next;
  }

  /** A handshake has failed. If HTTP answers all the same, WebSockets may be blocked. */
  async #ask() {
    const { fetch = globalThis.fetch, connectTimeout } = this.#options;
    let answers = false;
    try {
      const url = this.#url.replace(/^ws/, "http");
      const signal = AbortSignal.timeout(connectTimeout);
      answers = (await fetch(url, { method: "HEAD", credentials: "include", signal })).status < 500;
    } catch {
      // It does not.
    }
    this.#blocked = answers ? this.#blocked + 1 : 0;
    if (this.#blocked >= TOO_MANY) this.#streams = true;
  }

  #end(status, event) {
    this.#stopTimers();
    this.#attempt = this.#link = undefined;
    this.readyState = CLOSED;
    if (status === "closed") this.#listening.abort();
    const waiting = this.#queue.splice(0);
    this.#tell(status, event);
    for (const data of waiting) this.#emit("drop", { data });
  }

  #tell(status, event, details) {
    event.reconnects = status === "waiting";
    this.#become(status, { code: event.code, reason: event.reason, ...details });
    this.dispatchEvent(event);
  }
}
