// A customer's orders: the database says what is ordered, and reports of progress how far it is.

import { ReconnectingSocket } from "channels";

const CONNECTION = {
  connecting: "Connecting…",
  open: "Connected",
  waiting: "Reconnecting…",
  closed: "Disconnected",
  failed: "Disconnected",
};
// The states of an order, in their order; and "lost", which only reports of progress know.
const STATES = {
  ordered: "Ordered",
  painting: "Painting",
  lost: "Painter lost",
  done: "Done",
  cancelled: "Cancelled",
  failed: "Failed",
};
const RANKS = { ordered: 0, painting: 1, lost: 1, done: 2, cancelled: 2, failed: 2 };
// What reports of progress say of an order that is not finished.
const UNDER_WAY = { queued: "ordered", running: "painting", lost: "lost" };
// Changes of a slider come many at a time.
const CALM_MS = 200;

const find = (selector, parent = document) => parent.querySelector(selector);
const main = find("#main");
const controls = find("#controls");

const cards = new Map(); // by the id of the order: {order, element}
let changing; // the id of the order that the controls change
let due; // a change that is about to be sent
let loading; // whether the orders are being loaded, or are to be loaded once more
const unheard = new Map(); // reports of orders that are to be loaded first, by their id

// ---- What the server says --------------------------------------------------------------------

const socket = new ReconnectingSocket(main.dataset.socket);

// On each connection, as others may have ordered, and reports may have been missed.
socket.onopen = () => {
  problem("");
  load();
};

socket.onmessage = ({ data }) => hear(JSON.parse(data));

socket.onclose = ({ code, reason, reconnects }) => {
  if (code === 4401) location.assign(document.body.dataset.signIn);
  else if (!reconnects) problem(reason || "The server has ended the connection. Reload the page.");
};

socket.onstatuschange = ({ status }) => {
  find("#status").dataset.state = status;
  find("#status").textContent = CONNECTION[status];
};

// A report says how far a version of an order is. All else is asked of the database.
function hear(report) {
  const [, id, version] = /^order-(\d+)\.(\d+)$/.exec(report.job)?.map(Number) ?? [];
  const known = cards.get(id)?.order;
  if (!id || version < known?.version) return;
  const state = UNDER_WAY[report.state];
  if (version !== known?.version || !state) {
    unheard.set(id, report);
    return load();
  }
  // An attempt that begins anew from what is saved catches up first.
  const passes = Math.max(report.current ?? 0, known.passes);
  const preview = report.current === passes ? report.preview : null;
  show({ ...known, state, passes, painter: report.text || known.painter }, preview);
}

async function load() {
  if (loading) return (loading = "again");
  loading = "once";
  const answer = await call(main.dataset.orders);
  const again = loading === "again";
  loading = undefined;
  if (again) return load();
  if (answer) showAll(answer.orders);
}

// What the server answers, or nothing if it refuses; then the page says why.
async function call(path, body) {
  const headers = { "X-CSRFToken": controls.elements.csrfmiddlewaretoken.value };
  try {
    const response = await fetch(path, body ? { method: "POST", headers, body } : {});
    if (response.redirected) return location.assign(document.body.dataset.signIn);
    const answer = await response.json();
    if (body) problem(answer.problem ?? "");
    return response.ok ? answer : undefined;
  } catch {
    problem("The server cannot be reached, or has refused. Try it again in a moment.");
  }
}

async function send(path, body = new FormData()) {
  const order = await call(path, body);
  if (order) show(order);
  return order;
}

function problem(words) {
  find("#problem").textContent = words;
}

// ---- What is shown ---------------------------------------------------------------------------

function showAll(orders) {
  const ids = new Set(orders.map(({ id }) => id));
  for (const [id, { element }] of cards) {
    if (ids.has(id)) continue;
    if (id === changing) leave();
    element.remove();
    cards.delete(id);
  }
  for (const order of orders) show(order);
  const reports = [...unheard.values()];
  unheard.clear();
  for (const report of reports) if (UNDER_WAY[report.state]) hear(report);
  find("#empty").hidden = cards.size > 0;
}

// Reports and answers overtake each other: whether `order` is no older than the one that is known.
function isNews(order, known) {
  if (order.version !== known.version) return order.version > known.version;
  if (RANKS[order.state] !== RANKS[known.state]) return RANKS[order.state] > RANKS[known.state];
  return order.passes >= known.passes;
}

function show(order, preview) {
  const card = cards.get(order.id) ?? hang(order);
  if (!isNews(order, card.order)) return;
  const { element } = card;
  showImage(find("img", element), order, preview, card.order);
  card.order = order;
  element.dataset.state = order.state;
  element.dataset.painter = order.painter;
  const swatch = find(`.swatch:has([value="${CSS.escape(order.parameters.palette)}"])`);
  element.style.setProperty("--ground", swatch?.style.getPropertyValue("--ground") ?? "");
  find("h3", element).textContent = order.title;
  // Read out by screen readers, so only when it is something new.
  const words = find(".words", element);
  if (words.textContent !== STATES[order.state]) words.textContent = STATES[order.state];
  const { detail } = order.parameters;
  const isUnfinished = RANKS[order.state] < 2;
  const progress = find("progress", element);
  progress.hidden = !isUnfinished;
  progress.value = order.passes / detail;
  progress.ariaLabel = order.title;
  const percent = `${Math.floor((order.passes * 100) / detail)} %`;
  find(".percent", element).textContent = order.state === "painting" ? percent : "";
  find(".passes", element).textContent = order.passes ? `Pass ${order.passes} of ${detail}` : "";
  find(".painter", element).textContent = painterOf(order);
  find("[data-action=cancel]", element).hidden = !isUnfinished;
  find("[data-action=resume]", element).hidden = !["cancelled", "failed"].includes(order.state);
  const link = find("a", element);
  link.hidden = !order.picture;
  if (order.picture) link.href = order.picture;
  if (order.id !== changing) return;
  find("#controls-title").textContent = `Change “${order.title}”`;
  // Another window may have changed it. Whoever is choosing here is not disturbed.
  if (!controls.matches(":focus-within")) fillIn(order);
}

function showImage(image, order, preview, before) {
  const source = order.picture ?? preview;
  if (source && source !== image.getAttribute("src")) image.src = source;
  if (!source && order.version !== before.version && !order.passes) image.removeAttribute("src");
  image.hidden = !image.hasAttribute("src");
  image.alt = `${order.title}, ${STATES[order.state]}`;
}

function painterOf({ state, painter }) {
  if (state === "ordered") return "Waits for a painter";
  if (state === "lost") return "Another one goes on soon";
  return painter && `by ${painter}`;
}

// A new card, the newest first.
function hang(order) {
  const element = find("#card").content.firstElementChild.cloneNode(true);
  element.addEventListener("click", ({ target }) => act(target.dataset.action, order.id));
  const older = Math.max(...[...cards.keys()].filter((id) => id < order.id));
  find("#orders").insertBefore(element, cards.get(older)?.element ?? null);
  find("#empty").hidden = true;
  const card = { element, order };
  cards.set(order.id, card);
  return card;
}

// ---- What the customer does ------------------------------------------------------------------

function act(action, id) {
  if (action === "change") return choose(id);
  if (action) send(`${main.dataset.orders}${id}/${action}/`);
}

function choose(id) {
  leave();
  changing = id;
  const { order, element } = cards.get(id);
  element.dataset.chosen = "";
  controls.dataset.changing = "";
  find("#controls-title").textContent = `Change “${order.title}”`;
  find("#advice").textContent = "What you choose here is painted at once, instead of what it was.";
  find("#order").textContent = "Order as a new one";
  find("#leave").hidden = false;
  fillIn(order);
  find("[name=palette]:checked").focus();
}

function leave() {
  clearTimeout(due);
  const card = cards.get(changing);
  changing = undefined;
  if (card) delete card.element.dataset.chosen;
  delete controls.dataset.changing;
  find("#controls-title").textContent = "Order a picture";
  find("#advice").textContent = "It takes some seconds. Order several, and change each while it is painted.";
  find("#order").textContent = "Order";
  find("#leave").hidden = true;
}

function fillIn({ parameters }) {
  for (const [name, value] of Object.entries(parameters)) {
    if (controls.elements[name]) controls.elements[name].value = value;
  }
  showNumbers();
}

function showNumbers() {
  for (const output of controls.querySelectorAll("output")) {
    output.textContent = find(`#${output.htmlFor}`).value;
  }
}

function change() {
  showNumbers();
  clearTimeout(due);
  if (changing === undefined) return;
  due = setTimeout(() => send(`${main.dataset.orders}${changing}/`, new FormData(controls)), CALM_MS);
}

function rollDice() {
  controls.elements.seed.value = 1 + Math.floor(Math.random() * 999_999);
  change();
}

controls.addEventListener("input", change);
find("#dice").addEventListener("click", rollDice);
find("#leave").addEventListener("click", leave);

controls.addEventListener("submit", async (event) => {
  event.preventDefault();
  leave();
  // The next one is another picture, unless somebody wants to have it the same.
  if (await send(main.dataset.orders, new FormData(controls))) {
    rollDice();
    load(); // The oldest may have made room.
  }
});

rollDice();
showNumbers();
