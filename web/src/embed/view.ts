// What a reader sees: the comments of a post and the form, in a shadow root. It is plain DOM: nothing in it needs HTML
// from a text, so that it works under Trusted Types and every content security policy.

import { charsOf, cleaned, COMMENT_CHARS_MAX, isBlank } from '../live/text';
import { newIdempotencyKey } from '../live/idempotencyKey';
import { connectionTo, type TokenSource } from './connection';
import { wordsFor } from './failure';
import style from './style.css?inline';
import { nodesOf } from './text';
import { type Comment, joinThread, type Shown, type Thread } from './thread';
import { ago, exactly } from './times';

const AUTHOR_KEY = 'rejoinder.author';
const AUTHOR_CHARS_MAX = 100;
/** From this part of the room on, the characters are counted. */
const COUNTED_FROM = 0.8;
const TIMES_EVERY_MS = 30_000;
/** Comments that arrive within this are announced together. */
const ANNOUNCED_AFTER_MS = 1_000;

export interface Settings {
  /** The gateway's address, with a slash at the end. */
  server: string;
  post: string;
  token: TokenSource;
  headingLevel: number;
  /** Where guests sign in. */
  signIn: string | null;
}

let sheet: CSSStyleSheet | undefined;

export class View {
  #settings: Settings | undefined;
  #thread: Thread | undefined;
  #leave = () => {};
  #timer: ReturnType<typeof setInterval> | undefined;
  #isDrawing = false;

  #heading = element('div', 'heading', { part: 'heading', role: 'heading', id: 'title' });
  #state = element('p', 'state', { part: 'state', role: 'status' });
  #notice = element('p', 'notice', { part: 'notice', role: 'status' });
  #again = button('Try again', 'button');
  #list = element('ol', 'list', { part: 'list' });
  #older = button('Older comments', 'older');
  #olderTrouble = element('p', 'trouble', { part: 'trouble', role: 'alert' });
  #news = element('p', 'unseen', { role: 'status' });
  #form: Form;
  #items = new Map<string, { comment: Comment; item: HTMLElement; time: HTMLTimeElement }>();
  #arrived = new Set<string>();
  #announced: Comment[] = [];
  #announcing: ReturnType<typeof setTimeout> | undefined;

  constructor(host: HTMLElement, root: ShadowRoot) {
    this.#form = new Form(async (text, author, key) => {
      if (!this.#thread) throw new Error('the element was removed');
      const written = await this.#thread.write(text, author, key);
      const detail = { id: written.id, held: written.isHeld };
      host.dispatchEvent(new CustomEvent('rejoinder-written', { detail, bubbles: true }));
      return written.isHeld;
    });
    this.#again.addEventListener('click', () => void this.#thread?.read());
    this.#older.addEventListener('click', () => void this.#readOlder());
    // The page around it may be in another language.
    const language = { lang: 'en', dir: 'ltr' };
    const body = element('section', 'body', { part: 'body', 'aria-labelledby': 'title', ...language });
    const head = element('header', 'head', { part: 'head' });
    head.append(this.#heading, this.#state);
    body.append(head, this.#form.element, this.#notice, this.#again, this.#list, this.#older);
    body.append(this.#olderTrouble, this.#news);
    // Keys that are typed here are no short cuts of the page.
    for (const type of ['keydown', 'keypress', 'keyup'])
      body.addEventListener(type, (event) => {
        if (event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement)
          event.stopPropagation();
      });
    // A constructed sheet needs no `style-src` of the page.
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(style);
    }
    root.adoptedStyleSheets.push(sheet);
    root.replaceChildren(body);
  }

  connect(settings: Settings): void {
    this.update(settings);
    this.#timer ??= setInterval(() => this.#drawTimes(), TIMES_EVERY_MS);
  }

  disconnect(): void {
    this.#leave();
    this.#leave = () => {};
    this.#thread = undefined;
    clearInterval(this.#timer);
    clearTimeout(this.#announcing);
    this.#timer = this.#announcing = undefined;
  }

  update(settings: Settings): void {
    const before = this.#settings;
    this.#settings = settings;
    const { server, post, token } = settings;
    // What was handed over last counts, at whichever embed; one that was handed nothing leaves it.
    const connection = connectionTo(server);
    const isNew = token !== before?.token || (token !== undefined && server !== before?.server);
    // Put back after the last embed was gone, it still has its token.
    if (isNew || (!this.#thread && !connection.hasSource)) connection.setToken(token);
    this.#heading.ariaLevel = String(settings.headingLevel || 2);
    this.#form.setSignIn(settings.signIn);
    if (this.#thread && before?.server === server && before.post === post) return this.#drawSoon();
    // After it has joined: the last one to leave takes the token along.
    const leave = this.#leave;
    this.#items.forEach(({ item }) => item.remove());
    this.#items.clear();
    this.#form.setPlace(`${server} ${post}`);
    const joined = joinThread(
      server,
      post,
      () => this.#drawSoon(),
      (comment) => this.#announce(comment),
    );
    this.#thread = joined.thread;
    this.#leave = joined.leave;
    leave();
    this.#draw();
  }

  /** Many changes at once are drawn once. */
  #drawSoon(): void {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      this.#draw();
    });
  }

  #draw(): void {
    const thread = this.#thread;
    if (!thread) return;
    const shown = thread.shown;
    const isThere = shown.phase === 'shown';
    write(
      this.#heading,
      isThere && shown.count > 0
        ? `${shown.count.toLocaleString('en')} ${shown.count === 1 ? 'comment' : 'comments'}`
        : 'Comments',
    );
    this.#state.dataset.state = isThere ? shown.live : 'none';
    write(this.#state, isThere ? STATES[shown.live] : '');
    write(this.#notice, noticeOf(shown));
    this.#notice.dataset.phase = shown.phase;
    this.#notice.hidden = this.#notice.textContent === '';
    this.#again.hidden = shown.phase !== 'failed';
    // Text that was begun stays, whatever becomes of the comments.
    this.#form.element.hidden = shown.phase === 'missing' || (shown.phase !== 'shown' && !this.#form.hasText);
    this.#form.setReader(shown.reader, thread.connection.isRefused);
    this.#older.hidden = !isThere || !shown.hasOlder;
    this.#drawList(shown.comments);
  }

  #drawList(comments: readonly Comment[]): void {
    const wanted = new Set(comments.map(({ id }) => id));
    for (const [id, { item }] of this.#items) {
      if (wanted.has(id)) continue;
      // The focus would fall to the page's start.
      if (item.contains((item.getRootNode() as ShadowRoot).activeElement)) this.#focusBeside(item);
      item.remove();
      this.#items.delete(id);
    }
    let place: Element | null = this.#list.firstElementChild;
    for (const comment of comments) {
      const known = this.#items.get(comment.id);
      const item = known?.item ?? element('li', 'comment', { part: 'comment', tabindex: '-1' });
      if (known?.comment !== comment) this.#drawComment(comment, item);
      if (item === place) place = item.nextElementSibling;
      else this.#list.insertBefore(item, place);
    }
    this.#list.hidden = comments.length === 0;
  }

  #drawComment(comment: Comment, item: HTMLElement): void {
    const { id, author, createdAt, edited, text } = comment;
    const time = element('time', '');
    time.dateTime = createdAt;
    time.title = exactly(createdAt);
    time.textContent = ago(createdAt);
    const link = element('a', 'time', { part: 'time' });
    link.href = this.#addressOf(id);
    link.append(time);
    const name = element('span', 'author', { part: 'author', lang: '', dir: 'auto' });
    name.textContent = author;
    const meta = element('p', 'meta', { part: 'meta' });
    meta.append(name, ' ', link);
    if (edited) meta.append(' ', 'edited');
    const body = element('div', 'text', { part: 'text', lang: '', dir: 'auto' });
    body.append(...nodesOf(text, () => body.replaceChildren(...nodesOf(text, () => {}))));
    item.toggleAttribute('data-new', this.#arrived.has(id));
    // What has the focus is drawn again.
    const hadFocus = item.contains((item.getRootNode() as ShadowRoot | Document).activeElement);
    item.replaceChildren(meta, ...this.#replyTo(comment), body);
    if (hadFocus) item.focus();
    this.#items.set(id, { comment, item, time });
  }

  /** What a reply answers. The list is by time: its parent may stand anywhere. */
  #replyTo({ parent, parentId }: Comment): HTMLElement[] {
    if (parentId == null) return [];
    const line = element('p', 'reply-to', { part: 'reply-to' });
    if (!parent) {
      line.textContent = 'In reply to a comment that is gone';
      return [line];
    }
    const link = element('a', '', { lang: '', dir: 'auto' });
    link.href = this.#addressOf(parentId);
    link.textContent = parent.author;
    line.append('In reply to ', link);
    return [line];
  }

  /** Of a comment, on the gateway's own page. */
  #addressOf(comment: string): string {
    const { server = '', post = '' } = this.#settings ?? {};
    return new URL(`posts/${encodeURIComponent(post)}#comment-${comment}`, server).href;
  }

  #drawTimes(): void {
    for (const { comment, time } of this.#items.values()) write(time, ago(comment.createdAt));
  }

  #focusBeside(item: Element): void {
    const beside = item.nextElementSibling ?? item.previousElementSibling;
    if (beside instanceof HTMLElement) return beside.focus();
    this.#heading.tabIndex = -1;
    this.#heading.focus();
  }

  async #readOlder(): Promise<void> {
    const thread = this.#thread;
    if (!thread || this.#older.ariaDisabled === 'true') return;
    this.#older.ariaDisabled = 'true';
    write(this.#older, 'Loading older comments…');
    write(this.#olderTrouble, '');
    const last = thread.shown.comments.at(-1);
    try {
      await thread.readOlder();
      this.#draw();
      // The button may be gone: the reader goes on at the first of them.
      const { comments } = thread.shown;
      const first = comments[comments.findIndex(({ id }) => id === last?.id) + 1];
      if (first) this.#items.get(first.id)?.item.focus({ preventScroll: true });
    } catch (error) {
      write(this.#olderTrouble, `${wordsFor(error)} The older comments were not loaded.`);
    } finally {
      this.#older.ariaDisabled = null;
      write(this.#older, 'Older comments');
    }
  }

  #announce(comment: Comment): void {
    this.#arrived.add(comment.id);
    this.#announced.push(comment);
    this.#announcing ??= setTimeout(() => {
      const [first] = this.#announced;
      const isOne = this.#announced.length === 1;
      write(this.#news, isOne ? `New comment by ${first?.author}` : `${this.#announced.length} new comments`);
      this.#announced = [];
      this.#announcing = undefined;
      // Shown as new while they are, and no longer than they are in the list.
      for (const id of this.#arrived) if (!this.#items.has(id)) this.#arrived.delete(id);
    }, ANNOUNCED_AFTER_MS);
  }
}

const STATES: Record<Shown['live'], string> = {
  connecting: '',
  live: 'Live',
  waiting: 'Reconnecting…',
  offline: 'Offline',
};

function noticeOf({ phase, error, comments }: Shown): string {
  switch (phase) {
    case 'loading':
      return 'Loading comments…';
    case 'missing':
      return 'There is no discussion here.';
    case 'failed':
      return `${wordsFor(error)} Trying again.`;
    case 'shown':
      if (error !== undefined) return `${wordsFor(error)} New comments may be missing. Trying again.`;
      return comments.length === 0 ? 'No comments yet. Be the first.' : '';
  }
}

/** Where a comment is written. */
class Form {
  readonly element = element('form', 'form', { part: 'form' });
  #name = element('input', 'field', { part: 'field', id: 'name', autocomplete: 'nickname' });
  #nameLine = element('div', 'line');
  #who = element('p', 'who', { part: 'who' });
  #signIn = element('a', 'sign-in', { part: 'sign-in' });
  #text = element('textarea', 'field', {
    part: 'field',
    id: 'text',
    rows: '3',
    'aria-describedby': 'counter',
  });
  #counter = element('span', 'counter', { id: 'counter', role: 'status' });
  #send = button('Comment', 'button');
  #trouble = element('p', 'trouble', { part: 'trouble', role: 'alert' });
  #done = element('p', 'done', { part: 'done', role: 'status' });
  #place = '';
  #key: { of: string; key: string } | undefined;
  #isSending = false;

  constructor(send: (text: string, author: string, key: string) => Promise<boolean>) {
    this.#name.maxLength = AUTHOR_CHARS_MAX;
    this.#name.value = kept(() => localStorage.getItem(AUTHOR_KEY)) ?? '';
    this.#text.placeholder = 'What do you think?';
    this.#signIn.textContent = 'Sign in';
    this.#send.type = 'submit';
    const label = (of: string, words: string, unseen = false) => {
      const label = element('label', unseen ? 'unseen' : 'label', { for: of, part: 'label' });
      label.textContent = words;
      return label;
    };
    const foot = element('div', 'foot');
    foot.append(this.#nameLine, this.#who, this.#send);
    this.#nameLine.append(label('name', 'Name (optional)'), this.#name, this.#signIn);
    this.element.append(label('text', 'Your comment', true), this.#text, this.#counter, foot);
    this.element.append(this.#trouble, this.#done);
    this.#text.addEventListener('input', () => {
      this.#keep();
      this.#count();
      write(this.#done, '');
    });
    this.#name.addEventListener('input', () =>
      kept(() => localStorage.setItem(AUTHOR_KEY, this.#name.value)),
    );
    this.#text.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.element.requestSubmit();
    });
    this.element.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#submit(send);
    });
    this.#count();
  }

  get hasText(): boolean {
    return this.#text.value !== '';
  }

  /** A draft stays with its post, also when the page is loaded again. */
  setPlace(place: string): void {
    if (this.#place === place) return;
    this.#place = place;
    this.#text.value = kept(() => sessionStorage.getItem(this.#draftKey)) ?? '';
    this.#count();
  }

  setSignIn(address: string | null): void {
    this.#signIn.hidden = !address || !/^(https?:|[^:]*$)/.test(address);
    if (!this.#signIn.hidden) this.#signIn.href = address ?? '';
  }

  setReader(reader: string | undefined, isRefused: boolean): void {
    this.#nameLine.hidden = reader !== undefined;
    write(this.#who, reader !== undefined ? `As ${reader}` : isRefused ? 'Your sign-in has ended.' : '');
    this.#who.hidden = this.#who.textContent === '';
  }

  get #draftKey(): string {
    return `rejoinder.draft ${this.#place}`;
  }

  #keep(): void {
    const text = this.#text.value;
    kept(() =>
      text === '' ? sessionStorage.removeItem(this.#draftKey) : sessionStorage.setItem(this.#draftKey, text),
    );
  }

  #count(): void {
    const text = this.#text.value;
    // A text of fewer UTF-16 units has fewer characters too.
    const chars = text.length < COMMENT_CHARS_MAX * COUNTED_FROM ? 0 : charsOf(text);
    const over = chars - COMMENT_CHARS_MAX;
    const used = `${chars.toLocaleString('en')} of ${COMMENT_CHARS_MAX.toLocaleString('en')} characters`;
    const tooMany = `${over.toLocaleString('en')} ${over === 1 ? 'character' : 'characters'} too many`;
    write(this.#counter, over > 0 ? tooMany : chars > COMMENT_CHARS_MAX * COUNTED_FROM ? used : '');
    this.#counter.toggleAttribute('data-over', over > 0);
    this.#text.ariaInvalid = over > 0 ? 'true' : null;
  }

  async #submit(send: (text: string, author: string, key: string) => Promise<boolean>): Promise<void> {
    if (this.#isSending) return;
    write(this.#done, '');
    const written = this.#text.value;
    const [text, author] = [cleaned(written), cleaned(this.#name.value)];
    if (isBlank(text)) {
      write(this.#trouble, 'Write something first.');
      return this.#text.focus();
    }
    if (charsOf(text) > COMMENT_CHARS_MAX) {
      write(this.#trouble, 'The comment is too long.');
      return this.#text.focus();
    }
    write(this.#trouble, '');
    this.#setSending(true);
    try {
      const isHeld = await send(text, author, this.#keyFor(`${author}\n${text}`));
      this.#key = undefined;
      // What was written on meanwhile is another comment.
      if (this.#text.value === written) this.#text.value = '';
      this.#keep();
      this.#count();
      write(
        this.#done,
        isHeld ? 'Thank you. A moderator has to see your comment first.' : 'Your comment is there.',
      );
    } catch (error) {
      write(this.#trouble, `${wordsFor(error)} Your text is still here.`);
    } finally {
      this.#setSending(false);
    }
  }

  /** Another try of the same text has the same key: however often it is sent, it is written once. */
  #keyFor(content: string): string {
    if (this.#key?.of !== content) this.#key = { of: content, key: newIdempotencyKey() };
    return this.#key.key;
  }

  /** The button stays where it is: one that is disabled would lose the focus. */
  #setSending(isSending: boolean): void {
    this.#isSending = isSending;
    this.#send.ariaDisabled = isSending ? 'true' : null;
    write(this.#send, isSending ? 'Sending…' : 'Comment');
  }
}

function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className: string,
  attributes: Record<string, string> = {},
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function button(words: string, className: string): HTMLButtonElement {
  const made = element('button', className, { part: className, type: 'button' });
  made.textContent = words;
  return made;
}

/** Unchanged words are not announced again. */
function write(into: HTMLElement, words: string): void {
  if (into.textContent !== words) into.textContent = words;
}

/** What the browser keeps; a browser that keeps nothing for pages throws. */
function kept<Value>(access: () => Value): Value | undefined {
  try {
    return access();
  } catch {
    return undefined;
  }
}
