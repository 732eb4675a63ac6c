// The addresses that a text of a reader may lead to.

const PROTOCOLS = new Set(['http:', 'https:', 'mailto:']);
/** A whole that a reader takes for an address. */
const LIKE_AN_ADDRESS = /^[^\s/]+\.[^\s/.]{2,}(?:\/|$)/u;
/** What begins as an address does, each up to a blank. */
const ADDRESSES = /(?:https?:|www\.)\S+/gi;
/** Without brackets, dots and blanks around it. */
const WITHOUT_MARKS = /[\p{Alphabetic}\p{N}](?:.*[\p{Alphabetic}\p{N}])?/su;
/** What a reader does not see of a link's words: characters that take no room, and one that is a blank in all but name. */
const UNSEEN = /[\u2800\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;
const LIKE_A_DOT = /[\u2024\u3002\uff0e\uff61]/g;
/** What follows is drawn in another order. */
const TURNING = /[\u202d\u202e]/;

/**
 * The address as the browser understands it. Undefined for one that does not lead to another page or to a mailbox, and
 * for one with a user's name in it, which reads as another host's.
 */
export function safeAddress(typed: string): string | undefined {
  const url = parsed(typed);
  if (!url || !PROTOCOLS.has(url.protocol)) return undefined;
  if (url.protocol !== 'mailto:' && (url.username !== '' || url.password !== '' || url.host === ''))
    return undefined;
  return url.href;
}

/**
 * The host that a link leads to, where its words, as they are shown, look like another one's address: all of them, or
 * some that begin as addresses do. Words that are drawn in another order may look like anything.
 */
export function otherHost(words: string, address: string): string | undefined {
  const host = parsed(address)?.host;
  if (!host) return undefined;
  const shown = words.replace(UNSEEN, '').replace(LIKE_A_DOT, '.');
  const all = withoutMarks(shown);
  const said = shown.match(ADDRESSES) ?? (LIKE_AN_ADDRESS.test(all) ? [all] : []);
  const isOther = TURNING.test(words) || said.some((it) => nameOf(hostSaid(it)) !== nameOf(host));
  return isOther ? host : undefined;
}

function hostSaid(said: string): string | undefined {
  const address = withoutMarks(said);
  return parsed(/^https?:/i.test(address) ? address : `http://${address}`)?.host;
}

function withoutMarks(text: string): string {
  return WITHOUT_MARKS.exec(text)?.[0] ?? '';
}

/** What two hosts of the same owner have in common. */
function nameOf(host: string | undefined): string | undefined {
  return host?.replace(/^www\./, '').replace(/\.$/, '');
}

function parsed(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}
