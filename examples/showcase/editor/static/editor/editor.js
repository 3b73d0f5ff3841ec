// The page of one document: binds a <textarea> to a text of Yjs, and Yjs to the server.
//
// The text of Yjs takes changes in any order and ends up the same everywhere. So the page sends what
// is typed as it is typed, and after each break the two sides only compare what they have.

import { showCarets } from "./carets.js";
import { connect, hueOf, problem } from "showcase";
import * as Y from "yjs";

const BOX = "box"; // origin of what is typed here
const SERVER = "server"; // origin of what others have typed
const HERE_EVERY_MS = 20_000;
const CARET_EVERY_MS = 100;
const GONE_AFTER_MS = 150_000; // Browsers wake a page in the background once a minute.

const find = (selector) => document.querySelector(selector);
const box = find("#text");

let doc, text, undo;
let agreed = false; // Both sides have compared what they have, and have the same since then.
let typed = []; // changes that have not been sent yet
let sent; // the one that the server has not answered yet
let held; // what arrives while a character is being composed
let lastEdit = 0; // where what was typed last ends

begin();

function begin() {
  doc = new Y.Doc();
  text = doc.getText("text");
  undo = new Y.UndoManager(text, { trackedOrigins: new Set([BOX]) });
  doc.on("update", (update, origin) => {
    if (origin === SERVER) return;
    typed.push(update);
    send();
  });
  text.observe(({ delta, transaction }) => {
    if (transaction.origin !== BOX) show(delta, transaction.origin === undo);
    showPlaces();
  });
}

// ---- The server -----------------------------------------------------------------------------

const socket = connect(find("#main").dataset.socket, {
  open: compare,
  document({ update, state }) {
    receive(update);
    agreed = true;
    typed = []; // is among what the server lacks
    sent = undefined;
    const lacking = Y.encodeStateAsUpdate(doc, bytesOf(state));
    if (lacking.length > 2) typed.push(lacking); // Two bytes are no change.
    box.disabled = false;
    send();
    look();
  },
  update({ update }) {
    receive(update);
    if (agreed && doc.store.pendingStructs) compare(); // It builds on one that did not come.
  },
  saved() {
    sent = undefined;
    send();
  },
  refused(event) {
    // What builds on a refused change is refused as well, so start from what the server has.
    problem(`${event.text} What you have typed last is not kept.`);
    doc.destroy();
    box.value = "";
    typed = [];
    sent = undefined;
    begin();
    compare();
  },
  lost: compare,
  error: (event) => problem(event.text),
  here({ page, user, caret }) {
    people.set(page, { user, caret, seen: Date.now() });
    showPeople();
  },
  left: ({ page }) => people.delete(page) && showPeople(),
  status(status) {
    if (status === "open") return;
    agreed = false;
    if (sent) typed.unshift(sent); // Nobody knows whether it has arrived.
    sent = undefined;
    people.clear();
    showPeople();
    tellSaved();
  },
});

function compare() {
  agreed = false;
  socket.tell({ type: "compare", state: base64Of(Y.encodeStateVector(doc)) });
}

/** Send what was typed, one change at a time: whoever types faster than that sends larger ones. */
function send() {
  if (agreed && !sent && typed.length) {
    sent = Y.mergeUpdates(typed);
    typed = [];
    socket.tell({ type: "update", update: base64Of(sent) });
  }
  tellSaved();
}

function receive(update) {
  if (held) held.push(update);
  else Y.applyUpdate(doc, bytesOf(update), SERVER);
}

function tellSaved() {
  const saved = !sent && !typed.length;
  const words = agreed ? (saved ? "Saved" : "Saving…") : saved ? "" : "Not saved yet";
  find("#saved").textContent = words;
}

addEventListener("beforeunload", (event) => {
  if (sent || typed.length) event.preventDefault(); // The browser asks whether to leave.
});

const base64Of = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

// ---- The text box ---------------------------------------------------------------------------

box.addEventListener("input", takeOver);

function takeOver() {
  const { at, removed, inserted } = difference(text.toString(), box.value, box.selectionEnd);
  // What is typed in another place is another step to undo.
  if (lastEdit < at || lastEdit > at + removed) undo.stopCapturing();
  lastEdit = at + inserted.length;
  doc.transact(() => {
    if (removed) text.delete(at, removed);
    if (inserted) text.insert(at, inserted);
  }, BOX);
}

/** The one change that makes `after` of `before`. It ends at the caret: that decides between "aa|a" and "a|aa". */
function difference(before, after, caret) {
  const shorter = Math.min(before.length, after.length);
  const behind = Math.min(shorter, after.length - caret);
  let end = 0;
  while (end < behind && before.at(-1 - end) === after.at(-1 - end)) end++;
  let at = 0;
  while (at < shorter - end && before[at] === after[at]) at++;
  // Never between the two halves of a character such as 😀.
  if (/[\uD800-\uDBFF]/.test(before[at - 1])) at--;
  if (/[\uDC00-\uDFFF]/.test(before[before.length - end])) end--;
  return { at, removed: before.length - end - at, inserted: after.slice(at, after.length - end) };
}

/** Show what has changed elsewhere; the caret stays in its place in the text. */
function show(delta, jump) {
  let { selectionStart: start, selectionEnd: end, selectionDirection: direction, scrollTop } = box;
  let at = 0;
  for (const { retain = 0, insert = "", delete: removed = 0 } of delta) {
    at += retain;
    const moved = (caret) => {
      if (caret <= at) return caret;
      return Math.max(at, caret - removed) + insert.length;
    };
    [start, end, lastEdit] = [start, end, lastEdit].map(moved);
    at += insert.length;
  }
  box.value = text.toString();
  if (jump) box.setSelectionRange(at, at);
  else box.setSelectionRange(start, end, direction);
  box.scrollTop = scrollTop;
}

// A character that is composed from several keys must not be disturbed.
box.addEventListener("compositionstart", () => (held = []));
box.addEventListener("compositionend", () => {
  takeOver();
  const updates = held ?? [];
  held = undefined;
  updates.forEach(receive);
});

// The browser's own undo would take back what others have typed.
box.addEventListener("beforeinput", (event) => {
  if (!event.inputType.startsWith("history")) return;
  event.preventDefault();
  if (event.inputType === "historyUndo") undo.undo();
  else undo.redo();
});

box.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (!(event.ctrlKey || event.metaKey) || event.altKey || (key !== "z" && key !== "y")) return;
  event.preventDefault();
  if (key === "y" || event.shiftKey) undo.redo();
  else undo.undo();
});

// ---- Who is here ----------------------------------------------------------------------------

const people = new Map(); // by page
let looking; // timer

/** Tell the others where the caret is: next to which character, for that stays true when they type. */
function look() {
  clearTimeout(looking);
  looking = undefined;
  if (!agreed) return;
  const place = Y.createRelativePositionFromTypeIndex(text, box.selectionEnd);
  socket.tell({ type: "here", caret: base64Of(Y.encodeRelativePosition(place)) });
}

document.addEventListener("selectionchange", () => {
  if (document.activeElement === box) looking ??= setTimeout(look, CARET_EVERY_MS);
});

setInterval(() => {
  look();
  const longAgo = Date.now() - GONE_AFTER_MS;
  for (const [page, { seen }] of people) if (seen < longAgo) people.delete(page);
  showPeople();
}, HERE_EVERY_MS);

function showPeople() {
  const names = new Set([...people.values()].map(({ user }) => user));
  const items = [...names].sort().map((name) => {
    const item = document.createElement("li");
    item.style.setProperty("--hue", hueOf(name));
    item.textContent = isMe(name) ? `${name} (you)` : name;
    return item;
  });
  find("#people").replaceChildren(...items);
  showPlaces();
}

function showPlaces() {
  const carets = [...people.values()]
    .filter(({ user }) => !isMe(user))
    .map(({ user, caret }) => ({ user, hue: hueOf(user), index: indexOf(caret) }))
    .filter(({ index }) => index !== undefined);
  showCarets(box, find("#carets"), carets);
}

/** Where a caret is, if this page knows the place already. */
function indexOf(caret) {
  try {
    const place = Y.decodeRelativePosition(bytesOf(caret));
    return Y.createAbsolutePositionFromRelativePosition(place, doc)?.index;
  } catch {
    return undefined; // It is no caret.
  }
}

const isMe = (name) => name === document.body.dataset.user;
