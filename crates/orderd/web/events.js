// The connection to /events. The browser itself would reconnect after a fixed time, and never after a response that is not
// a feed. This reconnects after a random time, detects a connection that went silent, and closes the connection while
// the page is hidden.

import { jittered, memLen } from "./api.js";
import { parse } from "./json.js";

const QUIET = 6000; // Statistics come every second.
const HIDDEN = 20000;
const AGAIN = 1000;

export class Events {
  #source = null;
  #last = "";
  #handlers;
  #watchdog = 0;
  #retry = 0;
  #hidden = 0;
  #wanted = false;

  // Handlers: order(data), stats(data), reset(), state(connected), closed(). A reset says that what came before now has to
  // be asked for; it comes after the connection stands, so that nothing falls between the two. After closed(), the
  // statistics are out of date, and the page shows no error.
  constructor(handlers) {
    this.#handlers = handlers;
    document.addEventListener("visibilitychange", () => this.#visibility());
  }

  start() {
    this.#wanted = true;
    this.#open();
  }

  // Resets the state: the next start begins without a last event.
  stop() {
    this.#wanted = false;
    this.#last = "";
    this.#close();
  }

  #open() {
    this.#close();
    if (!this.#wanted) return;
    const since = this.#last ? `?${new URLSearchParams({ last_event_id: this.#last })}` : "";
    const source = new EventSource(`events${since}`);
    this.#source = source;
    source.onopen = () => {
      this.#alive();
      if (!since) this.#handlers.reset();
    };
    source.onerror = () => this.#lost(source);
    for (const name of ["order", "stats", "reset"]) {
      source.addEventListener(name, (event) => {
        this.#last = event.lastEventId || this.#last;
        this.#alive();
        this.#handlers[name](parse(event.data));
      });
    }
    this.#watch();
  }

  #close() {
    clearTimeout(this.#watchdog);
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
    this.#handlers.closed();
  }

  #alive() {
    this.#handlers.state(true);
    this.#watch();
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#handlers.state(false);
      this.#open();
    }, QUIET);
  }

  async #lost(source) {
    if (source !== this.#source) return;
    const isRefused = source.readyState === EventSource.CLOSED;
    this.#handlers.state(false);
    this.#close();
    this.#retry = setTimeout(() => this.#open(), jittered(AGAIN));
    // The browser does not report why it was refused; any other request does.
    if (isRefused) await memLen().catch(() => {});
  }

  #visibility() {
    clearTimeout(this.#hidden);
    if (document.hidden) this.#hidden = setTimeout(() => this.#close(), HIDDEN);
    else if (this.#wanted && !this.#source) this.#open();
  }
}
