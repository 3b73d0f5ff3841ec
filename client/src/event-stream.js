/**
 * The connection where WebSockets are blocked: what the server sends comes as server-sent events,
 * what the page sends goes in POST requests, one after the other. It looks like a WebSocket.
 */

import { CLOSED, CLOSING, CONNECTING, OPEN, bytesOf, closeEvent, copyOf } from "./common.js";

const TYPE = "application/channels+json";

// Milliseconds after which frames are sent again that the server had no room for.
const PAUSE = 1000;

/** Takes server-sent events apart (HTML standard, "Interpreting an event stream"). */
export class EventParser {
  #rest = "";
  #event = "";
  #data = [];

  /** The events that are complete with `text`, which follows what was given before. */
  feed(text) {
    const events = [];
    // A carriage return at the end may be half of a line's end.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (!line) {
        if (this.#data.length) {
          events.push({ event: this.#event || "message", data: this.#data.join("\n") });
        }
        this.#event = "";
        this.#data = [];
      } else if (field === "data") {
        this.#data.push(value);
      } else if (field === "event") {
        this.#event = value;
      }
    }
    return events;
  }
}

const toBase64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));

const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

export class EventStreamSocket {
  readyState = CONNECTING;
  binaryType = "blob";
  protocol = "";
  extensions = "";
  bufferedAmount = 0;
  /** Whether the application has refused the connection, as it would refuse a WebSocket. */
  refused = false;

  #fetch;
  #url;
  #id;
  #abort = new AbortController();
  #outgoing = [];
  #close; // what there is to tell the server
  #said; // the code and reason of a close by the page
  #posting = false;

  /**
   * @param url the URL of the WebSocket.
   * @param protocols the subprotocols to offer.
   * @param fetch the function `fetch`.
   */
  constructor(url, protocols, fetch) {
    this.#url = url.replace(/^ws/, "http");
    this.#fetch = fetch;
    this.#run([].concat(protocols || []));
  }

  async #run(protocols) {
    let ended;
    try {
      const response = await this.#post({ protocols }, "text/event-stream");
      // Others may answer for it: a proxy, or Django, whose protection against CSRF says 403.
      this.refused = response.headers.has("channels-refused");
      if (/^text\/event-stream/.test(response.headers.get("content-type"))) {
        const parser = new EventParser();
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let part; !(part = await reader.read()).done; ) {
          for (const { event, data } of parser.feed(part.value)) {
            const content = JSON.parse(data);
            if (event === "close") ended = content;
            else if (event === "open") this.#opened(content);
            else this.onmessage({ data: event === "binary" ? this.#binary(content) : content });
          }
        }
      }
    } catch {
      // The connection broke.
    }
    this.#ended(ended ?? this.#said ?? {});
  }

  #opened({ id, protocol }) {
    this.#id = id;
    this.protocol = protocol || "";
    this.readyState = OPEN;
    this.onopen();
  }

  #binary(content) {
    const bytes = fromBase64(content);
    return this.binaryType === "blob" ? new Blob([bytes]) : bytes.buffer;
  }

  #ended({ code = 1006, reason = "" }) {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.#abort.abort();
    this.onclose(closeEvent(code, reason, code !== 1006));
  }

  #post(content, accept = "*/*") {
    return this.#fetch(this.#url, {
      method: "POST",
      body: JSON.stringify(content),
      headers: { "Content-Type": TYPE, Accept: accept },
      credentials: "include",
      signal: this.#abort.signal,
    });
  }

  send(data) {
    this.#outgoing.push(copyOf(data));
    this.#flush();
  }

  close(code, reason) {
    if (this.readyState !== OPEN) return this.#ended({});
    this.readyState = CLOSING;
    this.#close = { code, reason };
    this.#said = { code: code ?? 1005, reason };
    this.#flush();
  }

  async #flush() {
    if (this.#posting) return;
    this.#posting = true;
    try {
      while (this.#outgoing.length || this.#close) {
        const frames = [];
        for (const data of this.#outgoing.splice(0)) {
          frames.push(
            typeof data === "string" ? { text: data } : { bytes: toBase64(await bytesOf(data)) },
          );
        }
        const close = this.#close;
        this.#close = undefined;
        await this.#deliver({ id: this.#id, frames, close });
      }
    } catch {
      this.#ended({});
    }
    this.#posting = false;
  }

  /** Send until the server has room for it. */
  async #deliver(content) {
    for (;;) {
      const { ok, status, headers } = await this.#post(content);
      if (ok) return;
      if (status !== 503 || !headers.get("retry-after")) throw status;
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
}
