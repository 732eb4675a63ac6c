// Draws Markdown as React elements: no text of a reader becomes HTML.
//
// Of CommonMark it draws paragraphs, emphasis, code, quotes, lists and links, and links bare addresses. Everything else
// stays as it was typed: HTML, entities, tables, rules, reference links, and code that is marked by its indentation
// alone. An image becomes a link to it, and a heading a line in bold: the page's outline is its own.

import { Lexer, type Token, Tokenizer, type Tokens } from 'marked';
import { createElement, type ReactNode } from 'react';

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

export function drawMarkdown(text: string): ReactNode {
  try {
    return blocks(Lexer.lex(text, { gfm: true, tokenizer: new Rules(text) }), 0);
  } catch {
    // Nested so deep that the parser ends: nobody wrote it to be read.
    return <p dir="auto">{text}</p>;
  }
}

function blocks(tokens: readonly Token[], depth: number): ReactNode[] {
  return tokens.map((token, index) => block(token as Tokens.Generic, index, depth));
}

function block(token: Tokens.Generic, key: number, depth: number): ReactNode {
  if (depth > NESTED_MAX) return <p key={key}>{token.raw.trim()}</p>;
  switch (token.type) {
    case 'space':
      return null;
    case 'heading':
      return (
        <p key={key} dir="auto">
          <strong>{words(token, depth)}</strong>
        </p>
      );
    case 'code':
      return (
        <pre key={key} dir="auto">
          <code>{String(token.text)}</code>
        </pre>
      );
    case 'blockquote':
      return <blockquote key={key}>{blocks(token.tokens ?? [], depth + 1)}</blockquote>;
    case 'list':
      return list(token as Tokens.List, key, depth);
    default:
      return (
        <p key={key} dir="auto">
          {words(token, depth)}
        </p>
      );
  }
}

function list({ ordered, start, items }: Tokens.List, key: number, depth: number): ReactNode {
  const children = items.map((item, index) => (
    <li key={index} dir="auto">
      {item.tokens.map((token, place) =>
        token.type === 'text' || token.type === 'checkbox'
          ? words(token as Tokens.Generic, depth + 1, place)
          : block(token as Tokens.Generic, place, depth + 1),
      )}
    </li>
  ));
  if (!ordered) return <ul key={key}>{children}</ul>;
  return (
    <ol key={key} start={start === '' || start === 1 ? undefined : start}>
      {children}
    </ol>
  );
}

/** What a token says, in its own line. */
function words(token: Tokens.Generic, depth: number, key?: number): ReactNode {
  if (!token.tokens) return text(token);
  const drawn = inline(token.tokens, depth + 1);
  return key === undefined ? drawn : <span key={key}>{drawn}</span>;
}

function inline(tokens: readonly Token[], depth: number): ReactNode[] {
  return tokens.map((token, index) => phrase(token as Tokens.Generic, index, depth));
}

function phrase(token: Tokens.Generic, key: number, depth: number): ReactNode {
  if (depth > NESTED_MAX) return token.raw;
  switch (token.type) {
    case 'em':
    case 'strong':
      return createElement(token.type, { key }, inline(token.tokens ?? [], depth + 1));
    case 'codespan':
      return <code key={key}>{String(token.text)}</code>;
    case 'br':
      // As every other line break, it is drawn by the style sheet.
      return '\n';
    case 'link':
    case 'image':
      return link(token as Tokens.Link, key, depth);
    default:
      return token.tokens ? inline(token.tokens, depth + 1) : text(token);
  }
}

function link(token: Tokens.Link, key: number, depth: number): ReactNode {
  const address = safeAddress(token.href);
  if (address === undefined) return token.raw;
  const said = token.text.trim() === '' ? address : token.text;
  const host = otherHost(said, address);
  return (
    <span key={key}>
      <a href={address} rel={REL} title={token.title ?? undefined}>
        {said === address ? address : inline(token.tokens, depth + 1)}
      </a>
      {host !== undefined && ` (${host})`}
    </span>
  );
}

/** Entities stay as they were typed, and a backslash takes itself away. */
function text(token: Tokens.Generic): string {
  return token.type === 'escape' ? String(token.text) : token.raw;
}
