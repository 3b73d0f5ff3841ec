// The page of one room: shows what comes through the socket, sends what is typed.
// Text from other people goes to the page as text (textContent), never as HTML.

import { connect, hueOf, problem } from "showcase";

// A page tells at most this often that somebody types, and forgets it a little later.
const TYPING_EVERY_MS = 3000;
const TYPING_LASTS_MS = 5000;

const find = (selector) => document.querySelector(selector);
const me = document.body.dataset.user;
const log = find("#log");
const messages = find("#messages");
const unsent = find("#unsent");
const composer = find("#composer");
const text = find("#text");

// ---- What arrives ---------------------------------------------------------------------------

const socket = connect(find("#main").dataset.socket, {
  history(event) {
    log.ariaBusy = "true"; // Old messages are not read aloud.
    messages.replaceChildren();
    addNotice("Nobody has said anything here yet. Say hello!", "empty");
    event.messages.forEach(addMessage);
    log.ariaBusy = "false";
    read.clear();
    for (const [user, id] of Object.entries(event.read)) read.set(user, id);
    typing.forEach(clearTimeout);
    typing.clear();
    showTyping();
    // It is not known whether these have arrived. Each is said only once, by its key.
    for (const [key, words] of outbox) socket.tell({ type: "say", key, text: words });
    catchUp();
  },
  message(event) {
    addMessage(event);
    stopTyping(event.author);
    catchUp();
  },
  refused({ key, text: reason }) {
    const words = outbox.get(key);
    if (words !== undefined) {
      settle(key);
      text.value = text.value ? `${words}\n${text.value}` : words;
      keep();
    }
    problem(reason);
  },
  typing({ user }) {
    if (user === me) return;
    clearTimeout(typing.get(user));
    typing.set(user, setTimeout(stopTyping, TYPING_LASTS_MS, user));
    showTyping();
  },
  read({ user, id }) {
    read.set(user, Math.max(id, read.get(user) ?? 0));
    showRead();
  },
  joined: ({ user }) => addNotice(`${nameOf(user)} joined`),
  left({ user }) {
    addNotice(`${nameOf(user)} left`);
    stopTyping(user);
  },
  error: (event) => problem(event.text),
});

const nameOf = (user) => (user === me ? "You" : user);
const listOf = new Intl.ListFormat("en");

function addNotice(words, kind = "") {
  const item = document.createElement("li");
  item.className = `notice ${kind}`;
  item.textContent = words;
  messages.append(item);
}

function addMessage(event) {
  if (event.author === me) settle(event.key);
  if (find(`#message-${event.id}`)) return; // It was in the history already.
  const item = show(event, messages);
  item.id = `message-${event.id}`;
  item.dataset.id = event.id;
}

function show({ author, text, sent_at }, list) {
  const item = find("template#message").content.firstElementChild.cloneNode(true);
  const previous = list.lastElementChild ?? messages.lastElementChild;
  item.dataset.author = author;
  item.classList.toggle("own", author === me);
  item.classList.toggle("follows", previous?.dataset.author === author);
  item.style.setProperty("--hue", hueOf(author));
  item.querySelector(".avatar").textContent = [...author][0].toUpperCase();
  item.querySelector(".author").textContent = nameOf(author);
  item.querySelector(".text").textContent = text;
  const sent = new Date(sent_at);
  const time = item.querySelector("time");
  time.dateTime = sent_at;
  time.title = sent.toLocaleString();
  const today = sent.toDateString() === new Date().toDateString();
  time.textContent = today
    ? sent.toLocaleTimeString([], { timeStyle: "short" })
    : sent.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  list.append(item);
  return item;
}

// ---- The end of the conversation ------------------------------------------------------------

// Whoever is at the end stays there, whatever grows or shrinks; whoever reads older messages is not
// pulled away from them.
let atEnd = true;
let position = 0;

log.addEventListener("scroll", () => {
  // Only who scrolls up leaves the end. The box may have grown since this was scrolled down.
  const up = log.scrollTop < position;
  position = log.scrollTop;
  atEnd = log.scrollHeight - position - log.clientHeight < 80 || (atEnd && !up);
  catchUp();
});

const sizes = new ResizeObserver(() => {
  if (atEnd) log.scrollTop = log.scrollHeight;
});
sizes.observe(log);
sizes.observe(log.firstElementChild);

// ---- Who has read what ----------------------------------------------------------------------

const read = new Map(); // The last message that each person has read.

function catchUp() {
  const last = Number([...messages.querySelectorAll(".message")].at(-1)?.dataset.id);
  if (atEnd && !document.hidden && last > (read.get(me) ?? 0)) {
    read.set(me, last);
    socket.tell({ type: "read", id: last });
  }
  showRead();
}

document.addEventListener("visibilitychange", catchUp);

function showRead() {
  const readers = new Map(); // By the last message that they have read here.
  const items = [...messages.querySelectorAll(".message")].reverse();
  for (const [user, id] of read) {
    const item = items.find((item) => item.dataset.id <= id);
    if (!item || user === me || user === item.dataset.author) continue;
    readers.set(item, [...(readers.get(item) ?? []), user]);
  }
  for (const item of items) {
    const names = readers.get(item);
    item.querySelector(".seen").textContent = names ? `Seen by ${names.sort().join(", ")}` : "";
  }
}

// ---- Who is typing --------------------------------------------------------------------------

const typing = new Map(); // By person, the timer that forgets it.
let toldTyping = 0;

function stopTyping(user) {
  clearTimeout(typing.get(user));
  typing.delete(user);
  showTyping();
}

function showTyping() {
  const names = [...typing.keys()];
  const who = names.length > 3 ? "Several people" : listOf.format(names);
  find("#typing").textContent = who && `${who} ${names.length > 1 ? "are" : "is"} typing…`;
}

text.addEventListener("input", () => {
  keep();
  const now = Date.now();
  if (socket.status !== "open" || !text.value.trim() || now - toldTyping < TYPING_EVERY_MS) return;
  toldTyping = now;
  socket.tell({ type: "typing" });
});

// ---- What is typed --------------------------------------------------------------------------

// What the server has not confirmed stays here, by its key, until it has. This and what is in the
// box outlive a reload, and the way to the sign-in page and back.
const kept = `${location.pathname} ${me}`;
const { draft = "", waiting = [] } = JSON.parse(sessionStorage.getItem(kept)) ?? {};
const outbox = new Map();

function keep() {
  sessionStorage.setItem(kept, JSON.stringify({ draft: text.value, waiting: [...outbox] }));
}

function post(key, words) {
  outbox.set(key, words);
  const item = show({ author: me, text: words, sent_at: new Date().toISOString() }, unsent);
  item.dataset.key = key;
}

function settle(key) {
  if (!outbox.delete(key)) return;
  unsent.querySelector(`[data-key="${key}"]`).remove();
  keep();
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value;
  if (!words.trim()) return;
  const key = newKey();
  text.value = "";
  text.focus();
  problem("");
  atEnd = true;
  toldTyping = 0;
  post(key, words);
  keep();
  if (socket.status === "open") socket.tell({ type: "say", key, text: words });
});

text.addEventListener("keydown", (event) => {
  // Enter sends, Shift+Enter makes a new line, and Enter that ends the input of a character (in
  // Japanese, for example) does neither.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});

// crypto.randomUUID() exists only where the page comes by HTTPS or from this machine.
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

text.value ||= draft;
waiting.forEach(([key, words]) => post(key, words));
