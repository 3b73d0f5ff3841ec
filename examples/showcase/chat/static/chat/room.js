// The page of one room: shows what comes through the WebSocket, sends what is typed.
// Text from other people goes to the page as text (textContent), never as HTML.

// Close codes of ChatConsumer.
const SIGN_IN_FIRST = 4401;
const NO_SUCH_ROOM = 4404;

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;

const find = (selector) => document.querySelector(selector);
const page = find("#main");
const log = find("#log");
const messages = find("#messages");
const composer = find("#composer");
const text = find("#text");

// ---- The connection -------------------------------------------------------------------------

let socket;
let failures = 0;
let retry;

function connect() {
  clearTimeout(retry);
  const url = new URL(page.dataset.socket, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    receive[event.type]?.(event);
  };
  socket.onclose = ({ code }) => {
    if (code === SIGN_IN_FIRST) return location.assign(page.dataset.signIn);
    if (code === NO_SUCH_ROOM) return location.assign(page.dataset.rooms);
    show("offline", "Reconnecting…");
    // Longer after each failure, and at random, so that after a restart not all come at once.
    const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** failures++);
    retry = setTimeout(connect, longest * (0.5 + Math.random() / 2));
  };
}

addEventListener("online", () => {
  if (socket.readyState === WebSocket.CLOSED) connect();
});

function show(state, words) {
  const status = find("#status");
  status.dataset.state = state;
  status.textContent = words;
  find("#send").disabled = state !== "online";
}

// ---- What arrives ---------------------------------------------------------------------------

const receive = {
  history(event) {
    failures = 0;
    log.ariaBusy = "true"; // Old messages are not read aloud.
    messages.replaceChildren();
    addNotice("Nobody has said anything here yet. Say hello!", "empty");
    event.messages.forEach(addMessage);
    log.ariaBusy = "false";
    log.scrollTop = log.scrollHeight;
    show("online", "Connected");
  },
  message: (event) => keepAtEnd(() => addMessage(event)),
  joined: (event) => keepAtEnd(() => addNotice(`${nameOf(event.user)} joined`)),
  left: (event) => keepAtEnd(() => addNotice(`${nameOf(event.user)} left`)),
  error(event) {
    find("#error").textContent = event.text;
  },
};

const nameOf = (user) => (user === page.dataset.user ? "You" : user);

// Whoever reads older messages is not pulled away from them.
function keepAtEnd(change) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  change();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function addNotice(words, kind = "") {
  const item = document.createElement("li");
  item.className = `notice ${kind}`;
  item.textContent = words;
  messages.append(item);
}

function addMessage(event) {
  const id = `message-${event.id}`;
  if (document.getElementById(id)) return; // It was in the history already.
  const item = find("template#message").content.firstElementChild.cloneNode(true);
  const own = event.author === page.dataset.user;
  item.id = id;
  item.dataset.author = event.author;
  item.classList.toggle("own", own);
  item.classList.toggle("follows", messages.lastElementChild?.dataset.author === event.author);
  item.style.setProperty("--hue", hueOf(event.author));
  item.querySelector(".avatar").textContent = [...event.author][0].toUpperCase();
  item.querySelector(".author").textContent = nameOf(event.author);
  item.querySelector(".text").textContent = event.text;
  const sent = new Date(event.sent_at);
  const time = item.querySelector("time");
  time.dateTime = event.sent_at;
  time.title = sent.toLocaleString();
  const today = sent.toDateString() === new Date().toDateString();
  time.textContent = today
    ? sent.toLocaleTimeString([], { timeStyle: "short" })
    : sent.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  messages.append(item);
}

// The same person has the same colour in every window.
function hueOf(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 9973;
  return (hash * 137) % 360;
}

// ---- What is typed --------------------------------------------------------------------------

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN || text.value.trim() === "") return;
  socket.send(JSON.stringify({ text: text.value }));
  text.value = "";
  text.focus();
  find("#error").textContent = "";
});

text.addEventListener("keydown", (event) => {
  // Enter sends, Shift+Enter makes a new line, and Enter that ends the input of a character (in
  // Japanese, for example) does neither.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});

connect();
