// The pages of customers and staff: show how each order stands, and post what the buttons mean.

import { connect, problem } from "showcase";

const find = (selector) => document.querySelector(selector);
const list = find("#orders");

connect(find("#main").dataset.socket, {
  // All that there is to know, after each connection: what happened while there was none is in it.
  orders({ orders }) {
    list.ariaBusy = "true"; // This is not read aloud.
    const known = new Set(orders.map(({ id }) => idOf(id)));
    for (const item of [...list.children]) if (!known.has(item.id)) item.remove();
    orders.reverse().forEach(show);
    find("#none").hidden = orders.length > 0;
    list.ariaBusy = "false";
  },
  order({ order }) {
    const news = show(order);
    if (news) find("#news").textContent = `Order ${order.id}: ${order.status_name}`;
  },
  error: (event) => problem(event.text),
});

const idOf = (id) => `order-${id}`;

/** Show an order, unless what is shown is later. The newest comes first. */
function show(order) {
  let item = document.getElementById(idOf(order.id));
  if (!item) {
    item = find("template#order").content.firstElementChild.cloneNode(true);
    item.id = idOf(order.id);
    item.dataset.version = 0;
    item.querySelector("form").action = `${location.pathname}${order.id}/`;
    item.querySelector("form").addEventListener("submit", post);
    item.querySelector(".item").textContent = order.item;
    for (const button of item.querySelectorAll("button")) {
      button.ariaLabel = `${button.textContent} order ${order.id}`;
    }
    list.prepend(item);
  }
  find("#none").hidden = true;
  if (order.version <= Number(item.dataset.version)) return false;
  item.dataset.version = order.version;
  const when = new Date(order.changed_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  item.querySelector(".about").textContent = `Order ${order.id} · ${order.customer} · ${when}`;
  item.classList.toggle("cancelled", order.status === "cancelled");
  let done = true;
  for (const step of item.querySelectorAll(".steps li")) {
    step.classList.toggle("done", done);
    const current = step.dataset.status === order.status;
    step.ariaCurrent = current ? "step" : null;
    if (current) done = false;
  }
  const focused = document.activeElement;
  for (const button of item.querySelectorAll("button")) {
    button.hidden = !order.moves.includes(button.value);
  }
  if (focused.hidden && item.contains(focused)) item.focus(); // The focus is not lost with its button.
  return true;
}

/** Send the form without leaving the page. What becomes of it comes through the socket. */
async function post(event) {
  event.preventDefault();
  const { currentTarget: form, submitter } = event;
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  problem("");
  let answer;
  try {
    answer = await fetch(form.action, { method: "POST", body: new FormData(form, submitter) });
  } catch {
    return problem("The server cannot be reached. Try again.");
  } finally {
    form.ariaBusy = "false";
  }
  if (answer.status === 204) return;
  if (answer.redirected) location.assign(document.body.dataset.signIn);
  else if (answer.status === 409) problem(await answer.text());
  else problem("The server does not accept this. Reload the page.");
}
