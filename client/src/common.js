/** What both kinds of connection share: the states of a WebSocket, its events and its data. */

export const CONNECTING = 0;
export const OPEN = 1;
export const CLOSING = 2;
export const CLOSED = 3;

/** Node has no `CloseEvent` before version 23. */
export const closeEvent = (code, reason, wasClean) =>
  Object.assign(new Event("close"), { code, reason, wasClean });

/** A copy of what a page may send, for it may change its buffers. */
export const copyOf = (data) =>
  ArrayBuffer.isView(data)
    ? data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)
    : data instanceof ArrayBuffer
      ? data.slice(0)
      : data;

/** The bytes of a copy. */
export const bytesOf = async (data) =>
  new Uint8Array(data instanceof Blob ? await data.arrayBuffer() : data);
