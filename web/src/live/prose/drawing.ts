// Draws Markdown as elements, of React or of the DOM: no text of a reader becomes HTML.
//
// Of CommonMark it draws paragraphs, emphasis, code, quotes, lists and links, and links bare addresses. Everything else
// stays as it was typed: HTML, entities, tables, rules, reference links, and code that is marked by its indentation
// alone. An image becomes a link to it, and a heading a line in bold: the page's outline is its own.

import { Lexer, type Token, Tokenizer, type Tokens } from 'marked';

import { otherHost, safeAddress } from './address';

/** Quotes in quotes, lists in lists: what lies deeper is shown as it was typed. */
const NESTED_MAX = 12;

const REL = 'nofollow ugc noopener';

/** Of a text; what begins after them stays as it was typed. To look for their ends takes the parser long. */
const EMPHASES_MAX = 100;

/**
 * `*` and `_` of a text. With more of them, none is an emphasis: the parser would stop at each, and look from there
 * through all that follows.
 */
const EMPHASIS_MARKS_MAX = 500;

/** An address of a mailbox has no more before its `@`: the parser looks so far for one, not to the end of the text. */
const LOCAL_PART = "[a-zA-Z0-9.!#$%&'*+/=?_`{|}~-]{1,64}@";
const MAY_BE_ADDRESS = /^(?:https?:|ftp:|www\.|mailto:|xmpp:|[\w.+-]{1,64}@)/i;

/** The parser's own rule for plain text, with bounded steps; it ends before each of these `marks`. */
const textUpTo = (marks: string) =>
  new RegExp(
    '^(?:[^a-zA-Z0-9](?=(?:mailto|xmpp):)|(?:`+|~+|[^`~])(?:(?=[`~])|(?= {2,}\\n)|' +
      `(?=${LOCAL_PART})|[\\s\\S]*?(?:(?=[\\\\<!\\[\`~${marks}]|[hH][tT][tT][pP][sS]?|[fF][tT][pP]://|` +
      '(?<![^\\s*_~(])www\\.|$)|[^ ](?= {2,}\\n)|[^a-zA-Z0-9](?=(?:mailto|xmpp):)|' +
      `[^a-zA-Z0-9.!#$%&'*+/=?_\`{|}~-](?=${LOCAL_PART}))))`,
  );
const TEXT = textUpTo('*_');
const TEXT_WITH_MARKS = textUpTo('');

/** Knows no more than what is drawn: what a rule does not take, a paragraph does. */
class Rules extends Tokenizer {
  #emphases = 0;
  #hasEmphases: boolean;

  constructor(text: string) {
    super();
    this.#hasEmphases = (text.match(/[*_]/g)?.length ?? 0) <= EMPHASIS_MARKS_MAX;
  }

  override code = () => undefined;
  override def = () => undefined;
  override del = () => undefined;
  override hr = () => undefined;
  override html = () => undefined;
  override lheading = () => undefined;
  override reflink = () => undefined;
  override table = () => undefined;
  override tag = () => undefined;

  override autolink(rest: string) {
    // There are no links in links.
    return this.lexer.state.inLink ? undefined : super.autolink(rest);
  }

  override emStrong(...rest: Parameters<Tokenizer['emStrong']>) {
    if (!this.#hasEmphases || !/^[*_]/.test(rest[0])) return undefined;
    return ++this.#emphases > EMPHASES_MAX ? undefined : super.emStrong(...rest);
  }

  override inlineText(rest: string): Tokens.Text | undefined {
    const raw = (this.#hasEmphases ? TEXT : TEXT_WITH_MARKS).exec(rest)?.[0];
    return raw === undefined ? undefined : { type: 'text', raw, text: raw, escaped: false };
  }

  override url(rest: string) {
    return MAY_BE_ADDRESS.test(rest) ? super.url(rest) : undefined;
  }
}

type Attributes = Record<string, string | number>;
/** Makes an element. */
export type Make<Element> = (tag: string, attributes: Attributes, inner: Drawn<Element>) => Element;
/** Elements and texts. */
export type Drawn<Element> = readonly (Element | string)[];

/** A text's blocks, as elements that are made so. */
export function draw<Element>(text: string, make: Make<Element>): Drawn<Element> {
  try {
    return new Drawing(make).blocks(Lexer.lex(text, { gfm: true, tokenizer: new Rules(text) }), 0);
  } catch {
    // Nested so deep that the parser ends: nobody wrote it to be read.
    return [make('p', AUTO, [text])];
  }
}

const AUTO = { dir: 'auto' };

class Drawing<Element> {
  constructor(readonly make: Make<Element>) {}

  blocks(tokens: readonly Token[], depth: number): Drawn<Element> {
    return tokens.flatMap((token) => this.block(token as Tokens.Generic, depth) ?? []);
  }

  block(token: Tokens.Generic, depth: number): Element | undefined {
    if (depth > NESTED_MAX) return this.make('p', {}, [token.raw.trim()]);
    switch (token.type) {
      case 'space':
        return undefined;
      case 'heading':
        return this.make('p', AUTO, [this.make('strong', {}, this.words(token, depth))]);
      case 'code':
        return this.make('pre', AUTO, [this.make('code', {}, [String(token.text)])]);
      case 'blockquote':
        return this.make('blockquote', {}, this.blocks(token.tokens ?? [], depth + 1));
      case 'list':
        return this.list(token as Tokens.List, depth);
      default:
        return this.make('p', AUTO, this.words(token, depth));
    }
  }

  list({ ordered, start, items }: Tokens.List, depth: number): Element {
    const children = items.map((item) =>
      this.make(
        'li',
        AUTO,
        item.tokens.flatMap((token) => this.inItem(token as Tokens.Generic, depth + 1) ?? []),
      ),
    );
    const begins = ordered && start !== '' && start !== 1;
    return this.make(ordered ? 'ol' : 'ul', begins ? { start: Number(start) } : {}, children);
  }

  inItem(token: Tokens.Generic, depth: number): Element | string | undefined {
    if (token.type !== 'text' && token.type !== 'checkbox') return this.block(token, depth);
    return token.tokens ? this.make('span', {}, this.words(token, depth)) : text(token);
  }

  /** What a token says, in its own line. */
  words(token: Tokens.Generic, depth: number): Drawn<Element> {
    return token.tokens ? this.inline(token.tokens, depth + 1) : [text(token)];
  }

  inline(tokens: readonly Token[], depth: number, isInLink = false): Drawn<Element> {
    return tokens.flatMap((token) => this.phrase(token as Tokens.Generic, depth, isInLink));
  }

  phrase(token: Tokens.Generic, depth: number, isInLink: boolean): Drawn<Element> {
    if (depth > NESTED_MAX) return [token.raw];
    switch (token.type) {
      case 'em':
      case 'strong':
        return [this.make(token.type, {}, this.inline(token.tokens ?? [], depth + 1, isInLink))];
      case 'codespan':
        return [this.make('code', {}, [String(token.text)])];
      case 'br':
        // As every other line break, it is drawn by the style sheet.
        return ['\n'];
      case 'link':
      case 'image':
        // There are no links in links: of an image in one, its words are left.
        if (isInLink) return this.inline(token.tokens ?? [], depth, isInLink);
        return [this.link(token as Tokens.Link, depth)];
      default:
        return token.tokens ? this.inline(token.tokens, depth + 1, isInLink) : [text(token)];
    }
  }

  link(token: Tokens.Link, depth: number): Element | string {
    const address = safeAddress(token.href);
    if (address === undefined) return token.raw;
    const said = shown(token.tokens);
    const hasWords = said.trim() !== '';
    const host = hasWords ? otherHost(said, address) : undefined;
    const attributes = { href: address, rel: REL, ...(token.title && { title: token.title }) };
    const words = hasWords ? this.inline(token.tokens, depth + 1, true) : [address];
    const link = this.make('a', attributes, words);
    return this.make('span', {}, host === undefined ? [link] : [link, ` (${host})`]);
  }
}

/** The words that a reader sees. */
function shown(tokens: readonly Token[] = []): string {
  const words = (tokens as readonly Tokens.Generic[]).map((token) => {
    if (token.type === 'codespan') return String(token.text);
    return token.type === 'br' ? '\n' : token.tokens ? shown(token.tokens) : text(token);
  });
  return words.join('');
}

/** Entities stay as they were typed, and a backslash takes itself away. */
function text(token: Tokens.Generic): string {
  return token.type === 'escape' ? String(token.text) : token.raw;
}
