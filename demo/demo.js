// The demo page: two users, one WebSocket each, and what arrives on them.
//
// The part to copy is `Feed`: connect, wait for `welcome`, subscribe, read the rows, then apply changes in order,
// and come back after a lost connection. Everything below it draws.

const PRIVATE = "orders"; // each user receives only the orders that are theirs
const SHARED = "stock"; // both receive all of it
const SHOWN_ORDERS = 10;
const SHOWN_EVENTS = 60;

class Feed {
  #socket;
  #attempts = 0;
  #heartbeat;
  #unanswered; // channels whose subscribe has no `ok` yet
  #waiting; // changes that arrived before the rows did; null once the rows are shown

  /** `show` is told `state(name)`, `rows(rows)` and `change(message)`. */
  constructor(user, show) {
    this.user = user;
    this.show = show;
    this.connect();
  }

  async connect() {
    this.show.state(this.#attempts === 0 ? "connecting" : "reconnecting");
    try {
      const token = await this.#token();
      const socket = new WebSocket(new URL("/v1/ws", location.href.replace(/^http/, "ws")), [
        "rowcast.v1",
        `bearer.${token}`, // a browser cannot set a header on a WebSocket
      ]);
      this.#socket = socket;
      socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
      socket.onclose = ({ code }) => this.#closed(code);
    } catch {
      this.#comeBack();
    }
  }

  /** Waits longer after each failure, and never as long as another page does. */
  #comeBack() {
    this.show.state("reconnecting");
    const longest = Math.min(10_000, 300 * 2 ** this.#attempts++);
    setTimeout(() => this.connect(), longest * (0.5 + Math.random() / 2));
  }

  #closed(code) {
    clearInterval(this.#heartbeat);
    // 1003, 1009 and 4500 say that this page is wrong: coming back would not help. A refused token would be
    // replaced by a new one, so that is worth another try.
    if ([1003, 1009, 4500].includes(code)) this.show.state("stopped");
    else this.#comeBack();
  }

  #receive(message) {
    switch (message.type) {
      case "welcome":
        this.#attempts = 0;
        this.#waiting = [];
        this.#unanswered = new Set([PRIVATE, SHARED]);
        this.#heartbeat = setInterval(() => this.#send({ type: "ping" }), message.heartbeat_ms ?? 25_000);
        for (const channel of this.#unanswered) this.#send({ type: "subscribe", ref: channel, channel });
        break;
      case "ok":
        // Whatever commits after an `ok` arrives as a change; so the rows are read behind it, not before.
        if (this.#unanswered.delete(message.ref) && this.#unanswered.size === 0) this.#start();
        break;
      case "change":
        if (this.#waiting) this.#waiting.push(message);
        else this.show.change(message);
        break;
      case "reset":
        this.#waiting ??= [];
        this.#start();
        break;
      case "token_expiring":
        this.#token().then((token) => this.#send({ type: "auth", token }), () => {});
        break;
      case "error":
        console.error("rowcast:", message.code, message.message);
        break;
    }
  }

  async #start() {
    const socket = this.#socket;
    try {
      const rows = await json(`/demo/rows?user=${this.user}`);
      if (socket !== this.#socket || !this.#waiting) return;
      this.show.rows(rows);
      for (const change of this.#waiting) this.show.change(change);
      this.#waiting = null;
      this.show.state("live");
    } catch {
      socket.close();
    }
  }

  async #token() {
    const { users } = await json("/demo/config");
    return users.find(({ name }) => name === this.user).token;
  }

  #send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}

async function json(path, body) {
  const request = body && {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(path, request);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error?.message ?? `${path}: ${response.status}`);
  return answer;
}

// People and their orders

class Person {
  #orders = new Map(); // id to table row

  constructor(section) {
    this.user = section.dataset.user;
    section.append(document.querySelector("#person").content.cloneNode(true));
    const heading = section.querySelector("h2");
    heading.id = `${this.user}-name`;
    heading.textContent = this.user;
    this.light = section.querySelector(".light");
    this.body = section.querySelector("tbody");
    this.none = section.querySelector(".empty");
    this.feed = new Feed(this.user, this);
  }

  state(name) {
    light(this.light, name);
    overall();
  }

  rows({ orders, stock }) {
    this.#orders.clear();
    this.body.replaceChildren();
    orders.sort((a, b) => a.id - b.id).forEach((order) => this.#put(order, "", []));
    stock.forEach((item) => showStock(item));
    this.#count();
  }

  change(message) {
    noteEvent(message, this.user);
    if (message.table === "demo.stock") showStock(message.row, "update");
    if (message.table !== "demo.orders") return;
    if (message.op === "delete") this.#remove(message.key.id);
    else this.#put(message.row, message.op, message.changed ?? []);
    this.#count();
  }

  #put(order, op, changed) {
    const known = this.#orders.get(order.id);
    if (!known && op === "update") return; // too old to be shown
    const row = orderRow(order, changed);
    row.className = op;
    if (known) known.replaceWith(row);
    else this.body.prepend(row);
    this.#orders.set(order.id, row);
    const oldest = this.#orders.keys().next().value;
    if (this.#orders.size > SHOWN_ORDERS) {
      this.#orders.get(oldest).remove();
      this.#orders.delete(oldest);
    }
  }

  #remove(id) {
    const row = this.#orders.get(id);
    if (!row) return;
    this.#orders.delete(id);
    row.className = "leaving";
    row.addEventListener("animationend", () => row.remove(), { once: true });
  }

  #count() {
    this.none.hidden = this.#orders.size > 0;
  }
}

function orderRow(order, changed) {
  const row = element("tr");
  row.dataset.id = order.id;
  const cell = (text, column, className = "") => {
    const made = element("td", text, `${className} ${changed.includes(column) ? "touched" : ""}`);
    row.append(made);
    return made;
  };
  cell(`#${order.id}`, "id");
  cell(order.customer, "customer", "customer");
  cell(`${order.quantity} × ${order.item}`, changed.includes("quantity") ? "quantity" : "item");
  cell(Number(order.total).toFixed(2), "total", "number");
  const status = element("span", order.status, "status");
  status.dataset.status = order.status;
  cell("", "status").append(status);
  return row;
}

// Stock: both feeds bring it, and the later message of the two changes nothing

const stockList = document.querySelector("#stock");
const FULL_SHELF = 100;

function showStock({ item, on_hand: onHand }, op = "") {
  let line = [...stockList.children].find((other) => other.dataset.item === item);
  if (line?.dataset.onHand === String(onHand)) return;
  if (!line) {
    line = element("li");
    line.dataset.item = item;
    const bar = element("span", "", "bar");
    bar.append(element("i"));
    line.append(element("span", item), element("span"), bar);
    stockList.append(line);
  }
  line.dataset.onHand = onHand;
  line.children[1].textContent = onHand;
  line.children[2].classList.toggle("low", onHand < FULL_SHELF / 4);
  line.querySelector("i").style.width = `${Math.max(0, Math.min(100, (onHand / FULL_SHELF) * 100))}%`;
  restart(line, op);
}

// Events: one line an event, with everybody who received it

const eventList = document.querySelector("#events");
const delays = [];
let count = 0;

function noteEvent(message, user) {
  const known = [...eventList.children].find((line) => line.dataset.id === message.id);
  if (known) {
    known.querySelector(".for").append(recipient(user));
    return;
  }
  const delay = performance.timeOrigin + performance.now() - millis(message.at);
  eventList.prepend(eventLine(message, user, delay));
  while (eventList.children.length > SHOWN_EVENTS) eventList.lastChild.remove();
  document.querySelector("#count").textContent = (++count).toLocaleString("en");
  noteDelay(delay);
  ownWrites.seen(message);
}

function eventLine(message, user, delay) {
  const line = element("li");
  line.dataset.id = message.id;
  const table = (message.table ?? message.channel).replace("demo.", "");
  const key = Object.values(message.key ?? {}).join(", ");
  const audience = element("span", "", "for");
  audience.append(recipient(user));
  line.append(
    element("span", message.op, `op-${message.op}`),
    element("span", `${table} ${key}`),
    element("span", (message.changed ?? []).filter((name) => name !== "updated_at").join(", "), "changed"),
    audience,
    element("span", inWords(delay), "ms"),
  );
  line.title = JSON.stringify(message, null, 1);
  return line;
}

function recipient(user) {
  const name = element("b", user);
  name.dataset.user = user;
  return name;
}

/** `at` has microseconds, `Date` only milliseconds. */
function millis(at) {
  const micros = /\.\d{3}(\d{1,3})/.exec(at)?.[1] ?? "";
  return Date.parse(at) + Number(micros.padEnd(3, "0")) / 1000;
}

/** A database on another machine has another clock: then the difference says nothing. */
const inWords = (delay) => (delay > -1 && delay < 60_000 ? `${Math.max(0, delay).toFixed(1)} ms` : "");

function noteDelay(delay) {
  delays.push(delay);
  if (delays.length > 200) delays.shift();
  const median = delays.toSorted((a, b) => a - b)[delays.length >> 1];
  document.querySelector("#latency").textContent = inWords(median) || "–";
}

// Writing

const ownWrites = {
  open: new Map(), // "table/key/op" to when the button was pressed
  early: new Map(), // a change may arrive before the answer to the write that made it
  seen({ table, key, op }) {
    const name = `${table}/${key?.id}/${op}`;
    const begun = this.open.get(name);
    this.early.set(name, performance.now());
    if (this.early.size > SHOWN_EVENTS) this.early.delete(this.early.keys().next().value);
    if (begun !== undefined) this.tell(name, performance.now() - begun);
  },
  wait({ id, op }, begun) {
    const name = `demo.orders/${id}/${op}`;
    const seen = this.early.get(name);
    if (seen >= begun) this.tell(name, seen - begun);
    else this.open.set(name, begun);
  },
  tell(name, took) {
    this.open.delete(name);
    outcome(["On this page ", strong(`${took.toFixed(1)} ms`), " after the button: request, statement, commit and change."]);
  },
};

document.querySelector("#write").addEventListener("submit", async (event) => {
  event.preventDefault();
  const user = new FormData(event.target).get("user");
  const op = event.submitter.value;
  const begun = performance.now();
  try {
    const written = await json("/demo/write", { op, user });
    document.querySelector("#sql code").textContent = written.sql;
    outcome(["Committed in ", strong(`${written.ms.toFixed(1)} ms`), "."]);
    ownWrites.wait({ id: written.id, op }, begun);
  } catch (error) {
    outcome([`Nothing was written: ${error.message}`]);
  }
});

function outcome(parts) {
  document.querySelector("#outcome").replaceChildren(...parts);
}

// Small things

function light(place, name) {
  place.dataset.state = name;
  const words = place.querySelector(".words");
  if (words.textContent !== name) words.textContent = name;
}

/** The light of the page is as good as the worse of its two sockets. */
function overall() {
  const states = [...document.querySelectorAll(".person .light")].map((one) => one.dataset.state);
  const worst = ["stopped", "reconnecting", "connecting", "live"].find((name) => states.includes(name));
  light(document.querySelector("#light"), worst);
}

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className.trim();
  return made;
}

const strong = (text) => element("strong", text);

/** Takes the class away and lays the element out, else a second flash of the same name would not start. */
function restart(target, className) {
  target.classList.remove("update");
  void target.offsetWidth;
  if (className) target.classList.add(className);
}

document.querySelectorAll(".person").forEach((section) => new Person(section));
