// The live page. Every string from the server is set as textContent: file names and contract texts are hostile.

const POLL_MS = 3000;
const MAX_STREAMS = 3; // a browser opens six connections to one HTTP/1.1 host; the rest is for everything else
const FINISHED = new Set(["succeeded", "failed", "cancelled"]);
const KINDS = { process_file: "Process", ocr_file: "Read text", analyze_contract: "Analyse", export_contract: "Export" };

const rows = new Map(); // task id -> its elements and last view
const streams = new Map(); // task id -> EventSource
const $ = (id) => document.getElementById(id);

class SignedOut extends Error {}

function element(tag, { text, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

async function api(path, options = {}) {
  const answer = await fetch(path, options);
  if (answer.status === 401) throw new SignedOut();
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail ?? answer.statusText);
  return body;
}

// ── queues ──────────────────────────────────────────────────────────────────────────────────────────────────────

function showQueues(queues) {
  $("queues").replaceChildren(...queues.map((queue) => element("li", {},
    element("h3", { text: queue.name }),
    element("dl", {}, ...["waiting", "running", "deferred", "dead", "workers"].flatMap((name) => {
      const alarm = name === "dead" ? queue.dead > 0 : name === "workers" && queue.workers === 0;
      return [
        element("dt", { text: name }),
        element("dd", { text: queue[name].toLocaleString("en"), className: alarm ? "alarm" : "" }),
      ];
    })))));
}

// ── tasks ───────────────────────────────────────────────────────────────────────────────────────────────────────

function newRow(task) {
  const row = {
    task,
    known: undefined, // whether the contract was asked for before or after the task's end
    name: element("span", { className: "name", text: "…", title: task.id }),
    state: element("span", { className: "state" }),
    bar: element("progress", { max: 1 }),
    steps: element("ul", { className: "steps" }),
    error: element("p", { className: "error", hidden: true }),
    foot: element("div", { className: "foot" }),
    cancel: element("button", { type: "button", text: "Cancel" }),
  };
  row.bar.setAttribute("aria-label", "progress");
  row.cancel.addEventListener("click", () => cancel(row));
  const when = element("time", { className: "when", dateTime: task.created_at });
  when.textContent = new Date(task.created_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const kind = element("span", { className: "kind", text: KINDS[task.kind] ?? task.kind });
  const head = element("div", { className: "head" }, row.name, kind, when, row.state, row.cancel);
  row.item = element("li", {}, head, row.bar, row.steps, row.error, row.foot);
  return row;
}

function showTask(row, task) {
  row.task = { ...row.task, ...task };
  const finished = FINISHED.has(task.state);
  row.state.textContent = task.state;
  row.state.className = `state ${finished ? task.state : ""}`;
  row.bar.value = task.progress;
  row.bar.hidden = finished;
  row.cancel.hidden = finished;
  row.steps.replaceChildren(...task.steps.map(showStep));
  row.error.textContent = task.error ?? "";
  row.error.hidden = !task.error;
  const stage = finished ? "whole" : "name";
  if (row.known !== stage && row.task.contract_id) {
    row.known = stage;
    showContract(row).catch(() => { row.known = undefined; }); // asked again with the next change
  }
}

function showStep(step) {
  let text = step.name;
  if (step.children || (step.total > 1 && step.state === "running")) text += ` ${step.done}/${step.total}`;
  if (step.attempt > 1) text += ` (attempt ${step.attempt})`;
  if (step.seconds != null) text += ` ${step.seconds.toFixed(1)} s`;
  return element("li", { text, className: step.state, title: step.error ?? step.message });
}

async function showContract(row) {
  const contract = await api(`/api/contracts/${row.task.contract_id}`);
  row.name.textContent = contract.file.name;
  if (!FINISHED.has(row.task.state)) return;
  const links = Object.entries(contract.reports)
    .map(([format, href]) => element("a", { href, text: `Report (${format.toUpperCase()})`, download: "" }));
  row.foot.replaceChildren(...links);
  if (contract.summary) {
    row.foot.append(element("details", {},
      element("summary", { text: "Summary" }), element("p", { text: contract.summary.text })));
  }
}

async function cancel(row) {
  row.cancel.disabled = true;
  try {
    await api(`/api/tasks/${row.task.id}`, { method: "DELETE" });
    row.state.textContent = "cancelling";
  } catch (error) {
    row.error.textContent = error.message;
    row.error.hidden = false;
    row.cancel.disabled = false;
  }
}

function showTasks(tasks) {
  const wanted = tasks.map((task) => {
    const row = rows.get(task.id) ?? newRow(task);
    rows.set(task.id, row);
    if (!streams.has(task.id)) showTask(row, task); // a stream is ahead of the poll
    return row.item;
  });
  const ids = new Set(tasks.map((task) => task.id));
  for (const [id, row] of rows) {
    if (ids.has(id)) continue;
    row.item.remove();
    rows.delete(id);
    stopWatching(id);
  }
  // Moving an element that already stands in its place would close its open summary and steal the focus.
  wanted.forEach((item, at) => {
    if ($("tasks").children[at] !== item) $("tasks").insertBefore(item, $("tasks").children[at] ?? null);
  });
  $("empty").hidden = tasks.length > 0;
  for (const task of tasks) if (!FINISHED.has(task.state) && streams.size < MAX_STREAMS) watch(task.id);
}

function watch(id) {
  if (streams.has(id)) return;
  const stream = new EventSource(`/api/tasks/${id}/events`);
  streams.set(id, stream);
  stream.addEventListener("status", (event) => {
    const row = rows.get(id);
    if (row) showTask(row, JSON.parse(event.data));
  });
  stream.addEventListener("end", () => stopWatching(id));
  stream.addEventListener("error", () => stopWatching(id)); // the next poll opens it again, if it is still wanted
}

function stopWatching(id) {
  streams.get(id)?.close();
  streams.delete(id);
}

// ── uploads ─────────────────────────────────────────────────────────────────────────────────────────────────────

async function upload(file) {
  const bar = element("progress", { max: 1, value: 0 });
  const label = element("span", { text: file.name });
  const item = element("li", {}, label, bar);
  $("uploads").append(item);
  try {
    await send(file, (part) => { bar.value = part; });
    item.remove();
    await refresh();
  } catch (error) {
    label.textContent = `${file.name}: ${error.message}`;
    label.className = "bad";
    const dismiss = element("button", { type: "button", text: "Dismiss" });
    dismiss.addEventListener("click", () => item.remove());
    bar.replaceWith(dismiss);
  }
}

function send(file, progress) {
  // fetch() can't tell how far an upload has come.
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("file", file);
    const request = new XMLHttpRequest();
    request.open("POST", "/api/tasks/files/process");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => progress(event.loaded / event.total));
    request.addEventListener("error", () => reject(new Error("the server can't be reached")));
    request.addEventListener("load", () => {
      if (request.status === 202) resolve();
      else reject(new Error(request.response?.detail ?? `refused (${request.status})`));
    });
    request.send(form);
  });
}

async function uploadAll(files) {
  for (const file of files) await upload(file); // one at a time: the server's disk is the bound anyway
}

function acceptDrops() {
  const drop = $("drop");
  $("file").addEventListener("change", (event) => {
    uploadAll([...event.target.files]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault(); // dropped beside the zone, a file would replace the page
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") uploadAll([...event.dataTransfer.files]);
    });
  }
}

// ── the round ───────────────────────────────────────────────────────────────────────────────────────────────────

function connection(text, down) {
  $("connection").textContent = text;
  $("connection").className = down ? "down" : "";
}

async function refresh() {
  try {
    const [list, counts] = await Promise.allSettled([api("/api/tasks?limit=30"), api("/api/tasks/queues/status")]);
    if (list.status === "rejected") throw list.reason;
    $("board").hidden = false;
    $("sign-in").hidden = true;
    showTasks(list.value.tasks);
    if (counts.status === "fulfilled") showQueues(counts.value.queues);
    connection(counts.status === "fulfilled" ? "live" : "the queue can't be reached", counts.status === "rejected");
  } catch (error) {
    if (error instanceof SignedOut) {
      $("board").hidden = true;
      $("sign-in").hidden = false;
      connection("", false);
    } else {
      connection("the server can't be reached", true);
    }
  }
}

async function round() {
  if (!document.hidden) await refresh();
  setTimeout(round, POLL_MS);
}

acceptDrops();
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
round();
