// Reads server-sent events from text, as https://html.spec.whatwg.org/multipage/server-sent-events.html has them.

export interface ServerSentEvent {
  type: string;
  data: string;
  /** The event's own id; nothing where it has none. */
  id: string | undefined;
}

/** An event that is longer is no event: the rest of it would be kept until its end. */
const EVENT_CHARS_MAX = 16 * 1_024 * 1_024;

export class EventReader {
  #line = '';
  #endsInReturn = false;
  #type = '';
  #data: string[] = [];
  #id: string | undefined;
  #chars = 0;

  /** The events that end in this piece of the stream. Throws where one is too long. */
  read(text: string): ServerSentEvent[] {
    const events: ServerSentEvent[] = [];
    // A line may end in a return and a new line, in two pieces.
    let rest = this.#endsInReturn && text.startsWith('\n') ? text.slice(1) : text;
    if (text !== '') this.#endsInReturn = text.endsWith('\r');
    for (let end = rest.search(/[\r\n]/); end >= 0; end = rest.search(/[\r\n]/)) {
      const event = this.#takeLine(this.#line + rest.slice(0, end));
      if (event) events.push(event);
      this.#line = '';
      rest = rest.slice(rest.startsWith('\r\n', end) ? end + 2 : end + 1);
    }
    this.#line += rest;
    if (this.#chars + this.#line.length > EVENT_CHARS_MAX)
      throw new Error('The server sent an event that is too long.');
    return events;
  }

  #takeLine(line: string): ServerSentEvent | undefined {
    if (line === '') return this.#takeEnd();
    this.#chars += line.length;
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line.startsWith(' ', colon + 1) ? colon + 2 : colon + 1);
    if (name === 'event') this.#type = value;
    else if (name === 'data') this.#data.push(value);
    else if (name === 'id' && !value.includes('\0')) this.#id = value;
    return undefined;
  }

  #takeEnd(): ServerSentEvent | undefined {
    const event = { type: this.#type || 'message', data: this.#data.join('\n'), id: this.#id };
    const isEvent = this.#data.length > 0;
    this.#type = '';
    this.#data = [];
    this.#id = undefined;
    this.#chars = 0;
    return isEvent ? event : undefined;
  }
}
