// Live comments on any page: `<script type="module" src="https://HOST/embed.js" data-post="ID"></script>`, or the element
// `<rejoinder-comments post="ID">`. ../../../docs/embedding.md explains both.
//
// This file has an address that stays, so it is small, and browsers keep it for minutes only. The rest has a hash in its
// name, and is fetched when an embed comes near to what is seen.

import type { TokenSource } from './connection';
import type { Settings, View } from './view';

const NAME = 'rejoinder-comments';
/** So far outside of what is seen, an embed starts. */
const NEAR = '600px';
/** The first wait for the code; each is twice as long as the one before, up to the longest. */
const RETRY_MS = 10_000;
const LONGEST_RETRY_MS = 10 * 60_000;
/** A browser keeps each copy of this script that a page has asked for, until the page is closed. */
const COPIES_MAX = 20;
/** The folder of this script: the gateway's address. */
const SERVER = new URL('.', import.meta.url).href;

/**
 * Against rules of the page such as `* { display: none !important }`: in a shadow root, the inner `!important` wins. What
 * is not displayed would never come near to what is seen.
 */
const STYLE = `
  :host { display: block !important; visibility: visible !important; opacity: 1 !important }
  :host([hidden]) { display: none !important }
`;
let sheet: CSSStyleSheet | undefined;

/** Where the copies of this script on a page, by any address, keep the gateways whose scripts are adopted. */
const ADOPTING: unique symbol = Symbol.for('rejoinder.adopting');

type ViewModule = typeof import('./view');
let loading: Promise<ViewModule> | undefined;
let copies = 0;

/** For an older copy of this file, whose view is not there any more. */
export function loadView(): Promise<ViewModule> {
  return import('./view');
}

/** The code of the view; after an update of the server, by the names of now. */
function view(): Promise<ViewModule> {
  loading ??= loadView()
    .catch(async (error: unknown) => {
      if (!navigator.onLine || copies >= COPIES_MAX) throw error;
      copies++;
      const address = `${import.meta.url.replace(/\?.*/, '')}?again=${Date.now()}`;
      const now = (await import(/* @vite-ignore */ address)) as { loadView: typeof loadView };
      return now.loadView();
    })
    .catch((error: unknown) => {
      loading = undefined;
      throw error;
    });
  return loading;
}

export class RejoinderComments extends HTMLElement {
  static readonly observedAttributes = ['post', 'server', 'token', 'heading-level', 'sign-in'];

  #root = this.attachShadow({ mode: 'open' });
  #view: View | undefined;
  #token: TokenSource;
  #observer: IntersectionObserver | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    super();
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
    }
    this.#root.adoptedStyleSheets = [sheet];
    // What the page has put into the element stands until there are comments.
    this.#root.append(document.createElement('slot'));
    // Set before this script was there.
    if (Object.hasOwn(this, 'token')) {
      this.#token = this.token;
      delete (this as { token?: TokenSource }).token;
    }
  }

  /** A JSON Web Token of the reader, or a function that is called for one; null for a guest. */
  get token(): TokenSource {
    return this.#token === undefined ? (this.getAttribute('token') ?? undefined) : this.#token;
  }

  set token(token: TokenSource) {
    this.#token = token;
    this.#update();
  }

  connectedCallback(): void {
    if (this.#view) return this.#view.connect(this.#settings());
    if (this.getAttribute('loading') === 'eager') return void this.#start();
    this.#observer ??= new IntersectionObserver(
      (entries) => {
        if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
        this.#observer?.disconnect();
        void this.#start();
      },
      { rootMargin: NEAR },
    );
    this.#observer.observe(this);
  }

  disconnectedCallback(): void {
    this.#observer?.disconnect();
    clearTimeout(this.#retry);
    // One that only changes its place goes on.
    queueMicrotask(() => {
      if (!this.isConnected) this.#view?.disconnect();
    });
  }

  attributeChangedCallback(): void {
    this.#update();
  }

  /** An element that is nowhere follows nothing. */
  #update(): void {
    if (this.isConnected) this.#view?.update(this.#settings());
  }

  async #start(): Promise<void> {
    clearTimeout(this.#retry);
    try {
      const { View } = await view();
      this.#view ??= new View(this, this.#root);
      if (this.isConnected) this.#view.connect(this.#settings());
    } catch (error) {
      console.warn('rejoinder: the code of the comments cannot be loaded', error);
      if (!this.isConnected) return;
      const words = document.createElement('p');
      words.setAttribute('role', 'status');
      const isOver = copies >= COPIES_MAX;
      words.textContent = `The comments cannot be loaded right now. ${isOver ? 'Reload the page to try again.' : 'Trying again.'}`;
      this.#root.replaceChildren(words);
      const wait = Math.min(RETRY_MS * 2 ** Math.max(copies - 1, 0), LONGEST_RETRY_MS);
      if (!isOver) this.#retry = setTimeout(() => void this.#start(), wait);
    }
  }

  #settings(): Settings {
    const server = this.getAttribute('server');
    return {
      // A folder, so that `graphql` is in it.
      server: server ? new URL(`${server.replace(/\/*$/, '')}/`, document.baseURI).href : SERVER,
      post: this.getAttribute('post') ?? '',
      token: this.token,
      headingLevel: Number(this.getAttribute('heading-level') ?? 2),
      signIn: this.getAttribute('sign-in'),
    };
  }
}

/** Of a script's `data-*`, what the element gets. The rest is other programs', or would be a handler or a style. */
const HANDED_OVER = ['theme', 'token', 'sign-in', 'heading-level', 'loading'];

/** Puts an element after a script that names a post, in whichever place the script wants. */
function place(script: HTMLScriptElement, post: string): void {
  const element = document.createElement(NAME);
  element.setAttribute('post', post);
  element.setAttribute('server', script.dataset.server ?? SERVER);
  for (const name of HANDED_OVER) {
    const value = script.getAttribute(`data-${name}`);
    if (value !== null) element.setAttribute(name, value);
  }
  const { target } = script.dataset;
  if (target === undefined && !script.closest('head')) return script.after(element);
  const wanted = target === undefined ? null : document.querySelector(target);
  if (!wanted) throw new Error('data-target has to name an element of the page, as `#comments`');
  wanted.append(element);
}

const adopted = new WeakSet<EventTarget>();
function adopt(script: EventTarget | null): void {
  if (!(script instanceof HTMLScriptElement) || adopted.has(script)) return;
  const { post } = script.dataset;
  if (post === undefined || !URL.canParse('.', script.src) || new URL('.', script.src).href !== SERVER)
    return;
  adopted.add(script);
  try {
    place(script, post);
  } catch (error) {
    // One that is wrong keeps no other from its place.
    console.warn('rejoinder: a script shows no comments', script, error);
  }
}

// One element for all gateways of the page, whichever script came first; each has its own scripts.
if (!customElements.get(NAME)) customElements.define(NAME, RejoinderComments);

const page = globalThis as { [ADOPTING]?: Set<string> };
const adopting = (page[ADOPTING] ??= new Set());
if (!adopting.has(SERVER)) {
  adopting.add(SERVER);
  // The module runs once. The scripts that name it again, later ones too, are heard of when they have loaded.
  document.addEventListener('load', ({ target }) => adopt(target), true);
  document.querySelectorAll<HTMLScriptElement>('script[data-post][src]').forEach(adopt);
}
