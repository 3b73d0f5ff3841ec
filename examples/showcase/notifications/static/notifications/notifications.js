// The notifications of one person: shows what comes through the stream, posts what is pressed.
// Browsers open few connections by HTTP/1.1 to one site (six). Serve pages that hold a stream by
// HTTP/2, or somebody with many tabs has none left.

import { listen, problem } from "showcase";

const find = (selector) => document.querySelector(selector);
const main = find("#main");
const list = find("#list");
const title = document.title;

// ---- What arrives ---------------------------------------------------------------------------

listen(main.dataset.stream, {
  notification({ id, text, sent_at }) {
    const known = find(`#notification-${id}`);
    const item = known ?? find("template#notification").content.firstElementChild.cloneNode(true);
    item.querySelector(".text").textContent = text;
    if (known) return;
    item.id = `notification-${id}`;
    item.dataset.id = id;
    const form = item.querySelector("form");
    form.action = `${form.getAttribute("action")}${id}/`;
    const time = item.querySelector("time");
    time.dateTime = sent_at;
    time.textContent = new Date(sent_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    // Those after a pause may be older than those that came meanwhile.
    const older = [...list.children].find((other) => Number(other.dataset.id) < id);
    list.insertBefore(item, older ?? null);
  },
  state({ shown, unread }) {
    const read = new Map(shown.map((item) => [item.id, item.read]));
    for (const item of [...list.children]) {
      const isRead = read.get(Number(item.dataset.id));
      if (isRead === undefined) item.remove(); // It is gone, or others are newer.
      item.classList.toggle("unread", isRead === false);
      item.querySelector("form").hidden = isRead;
    }
    find("#count").textContent = unread > 99 ? "99+" : unread;
    find("#count").hidden = !unread;
    find("#bell").ariaLabel = unread ? `Notifications, ${unread} unread` : "Notifications";
    find("#read-all").hidden = !unread;
    document.title = unread ? `(${unread}) ${title}` : title;
  },
});

// ---- What is pressed ------------------------------------------------------------------------

// The answer changes nothing here: what has changed comes through the stream, to all tabs alike.
main.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { target: form, submitter: button } = event;
  const focused = button === document.activeElement;
  const content = new FormData(form);
  button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body: content });
    if (answer.redirected) return location.assign(document.body.dataset.signIn);
    if (answer.ok) problem("");
    else if (answer.status === 400) problem(await answer.text());
    else if (answer.status === 403) problem("Your session has changed. Reload the page.");
    else problem("The server has failed. Try again.");
  } catch {
    problem("The server cannot be reached. Try again.");
  } finally {
    button.disabled = false;
    // What marks as read vanishes when there is nothing left to mark.
    if (focused) (form.id === "tell" ? button : list).focus();
  }
});
