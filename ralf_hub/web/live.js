// The live stream: one WebSocket, opened with a one-time ticket, resumed after the last event that was seen.

import { post } from "/web/api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10000;
const TOPICS = ["events", "deliveries", "metrics"];

export class Live {
  // `since`: the last event that is known already, null for none.
  constructor(onmessage, onstate, since = null) {
    this.onmessage = onmessage;
    this.onstate = onstate;
    this.seq = since;
    this.wasOff = false;
    this.wait = FIRST_WAIT_MS;
    this.stopped = false;
  }

  async start() {
    try {
      const { ticket } = await post("/stream/tickets");
      const scheme = location.protocol === "https:" ? "wss" : "ws";
      this.socket = new WebSocket(`${scheme}://${location.host}/api/v1/stream?ticket=${encodeURIComponent(ticket)}`);
      // One by one: a key that may not read the numbers may still read the events.
      this.socket.onopen = () => TOPICS.forEach((topic) => this.socket.send(JSON.stringify({
        op: "subscribe", id: topic, topics: [topic], ...(topic === "events" && this.seq !== null ? { since: this.seq } : {}),
      })));
      this.socket.onmessage = (message) => this.take(JSON.parse(message.data));
      this.socket.onclose = () => this.again();
    } catch (error) {
      if (error.status === 401 || error.status === 403) { this.onstate("refused"); return; }
      this.again();
    }
  }

  take(message) {
    if (message.op === "ack") {
      if (message.id !== "events") return;
      this.wait = FIRST_WAIT_MS;
      const resumed = this.wasOff && this.seq !== null;
      this.wasOff = false;
      this.seq ??= message.seq;
      this.onstate(resumed ? "resumed" : "on");
    } else if (message.op === "error") {
      if (message.problem.code === "missing_scope") return;
      this.seq = null; // the hub's events begin anew (another database): go on from now
      this.socket.close();
    } else {
      if (message.topic === "events") {
        if (message.seq <= this.seq) return;
        this.seq = message.seq;
      }
      this.onmessage(message);
    }
  }

  again() {
    if (this.stopped) return;
    this.wasOff = true;
    this.onstate("off");
    setTimeout(() => this.start(), this.wait * (0.5 + Math.random() / 2));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }

  stop() {
    this.stopped = true;
    this.socket?.close();
  }
}
