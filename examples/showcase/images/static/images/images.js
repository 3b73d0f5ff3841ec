// Somebody's pictures: shows how far each is, and sends what is chosen, also while it is painted.

import { connect, problem } from "showcase";

// Changes of a slider come many at a time.
const CALM_MS = 150;
const WORDS = {
  waiting: "Waiting for a painter",
  painting: "Painting",
  done: "Done",
  cancelled: "Cancelled",
  failed: "This one could not be painted",
};
const UNFINISHED = ["waiting", "painting"];
// The height of the plane that a picture shows without zoom, as the painter has it.
const SPAN = 3;

const find = (selector) => document.querySelector(selector);
const controls = find("#controls");
const picture = find("#picture");

const jobs = new Map(); // by id, the newest last
let most; // that the server keeps
let chosen; // the id of the picture that is shown large
let wantsNewest = false; // whether the next new picture is the one that was ordered here
let due; // a change that is about to be sent

const socket = connect(find("#main").dataset.socket, {
  jobs(event) {
    most = event.most;
    jobs.clear();
    find("#jobs").replaceChildren();
    for (const job of event.jobs.reverse()) keep(job);
    choose(jobs.has(chosen) ? chosen : [...jobs.keys()].at(-1));
  },
  job(job) {
    problem("");
    const isNew = !jobs.has(job.id);
    // A preview of a version that has been replaced.
    if (!isNew && job.version < jobs.get(job.id).version) return;
    keep(job);
    if ((isNew && wantsNewest) || !jobs.has(chosen)) {
      wantsNewest = false;
      choose(job.id);
    } else if (job.id === chosen) show();
  },
  removed({ id }) {
    jobs.get(id)?.item.remove();
    jobs.delete(id);
    if (id === chosen) choose([...jobs.keys()].at(-1));
  },
  error({ text }) {
    wantsNewest = false;
    problem(text);
  },
});

// ---- What is shown --------------------------------------------------------------------------

function keep(job) {
  let item = jobs.get(job.id)?.item;
  if (!item) {
    item = find("template#job").content.firstElementChild.cloneNode(true);
    item.querySelector("button").addEventListener("click", () => choose(job.id));
    find("#jobs").prepend(item);
    removeOld();
  }
  jobs.set(job.id, { ...job, item });
  if (job.image) item.querySelector("img").src = job.image;
  const isUnfinished = UNFINISHED.includes(job.state);
  item.querySelector(".words").textContent = isUnfinished ? `${job.percent} %` : WORDS[job.state];
  item.querySelector("button").ariaLabel = `Picture ${job.id}, ${WORDS[job.state]}`;
}

// The server keeps a few, and throws the oldest away.
function removeOld() {
  for (const [id, { item }] of [...jobs].slice(0, Math.max(0, jobs.size + 1 - most))) {
    item.remove();
    jobs.delete(id);
  }
}

function choose(id) {
  clearTimeout(due);
  chosen = id;
  for (const [other, { item }] of jobs) item.querySelector("button").ariaPressed = other === id;
  fillIn(jobs.get(id));
  show();
}

function fillIn(job) {
  for (const [name, value] of Object.entries(job?.parameters ?? {})) {
    controls.elements[name].value = value;
  }
}

function show() {
  const job = jobs.get(chosen);
  const isUnfinished = UNFINISHED.includes(job?.state);
  picture.hidden = !job?.image;
  find("#empty").hidden = !!job?.image;
  if (job?.image) picture.src = job.image;
  picture.alt = job ? `${job.parameters.shape}, ${WORDS[job.state]}` : "";
  find("#progress").value = job?.percent ?? 0;
  find("#percent").textContent = `${job?.percent ?? 0} %`;
  const words = job ? WORDS[job.state] : "";
  if (find("#state").textContent !== words) find("#state").textContent = words;
  find("#cancel").disabled = !isUnfinished;
  find("#remove").disabled = !job;
  // Another window may have changed it. Who is choosing here is not disturbed.
  if (!controls.matches(":focus-within")) fillIn(job);
}

// ---- What is chosen -------------------------------------------------------------------------

function parameters() {
  return Object.fromEntries(new FormData(controls));
}

function change() {
  clearTimeout(due);
  due = setTimeout(() => {
    if (chosen !== undefined) socket.tell({ type: "order", id: chosen, parameters: parameters() });
  }, CALM_MS);
}

controls.addEventListener("input", change);

controls.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(due);
  wantsNewest = true;
  socket.tell({ type: "order", parameters: parameters() });
});

picture.addEventListener("click", (event) => {
  const { x, y, zoom } = controls.elements;
  const scale = SPAN / picture.clientHeight / 2 ** Number(zoom.value);
  const moved = (value, pixels) => Math.max(-2.5, Math.min(2.5, Number(value) + pixels * scale));
  x.value = moved(x.value, event.offsetX - picture.clientWidth / 2);
  y.value = moved(y.value, picture.clientHeight / 2 - event.offsetY);
  zoom.value = Number(zoom.value) + 1;
  change();
});

for (const type of ["cancel", "remove"]) {
  find(`#${type}`).addEventListener("click", () => socket.tell({ type, id: chosen }));
}
