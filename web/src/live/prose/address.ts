// The addresses that a text of a reader may lead to.

const PROTOCOLS = new Set(['http:', 'https:', 'mailto:']);
/** What begins as an address does, each up to a blank. */
const ADDRESSES = /(?:https?:|www\.)\S+/gi;
/** Blanks, what begins the path of an address, and runs of what a host's name has. */
const PIECES = /\s|[/?#]|[\p{Alphabetic}\p{N}._-]+/gu;
const ENDS_WORD = /[\p{Alphabetic}\p{N}]$/u;
/** The last part of a name begins with a letter, and has two at least. */
const HOST = /\.(?:\p{Alphabetic}[^.]+)$|^\d+(?:\.\d+){3}$/u;
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
 * The host that a link leads to, where its words, as they are shown, have what looks like another one's address, anywhere.
 * Words that are drawn in another order may look like anything.
 */
export function otherHost(words: string, address: string): string | undefined {
  const { host, hostname } = parsed(address) ?? {};
  if (!host) return undefined;
  const shown = words.replace(UNSEEN, '').replace(LIKE_A_DOT, '.');
  const isOther =
    TURNING.test(words) ||
    (shown.match(ADDRESSES) ?? []).some((said) => nameOf(hostSaid(said)) !== nameOf(host)) ||
    hostsIn(shown).some((said) => nameOf(hostSaid(said)) !== nameOf(hostname));
  return isOther ? host : undefined;
}

/**
 * What looks like the name of a host or a number of one, without its port. What follows the `/` of an address belongs to
 * it: `index.html` is no host there.
 */
function hostsIn(shown: string): string[] {
  const hosts: string[] = [];
  let isPath = false;
  let wordEnd = -1;
  for (const { 0: piece, index } of shown.matchAll(PIECES)) {
    if (/\s/.test(piece)) isPath = false;
    else if (/[/?#]/.test(piece)) isPath ||= wordEnd === index;
    else {
      if (ENDS_WORD.test(piece)) wordEnd = index + piece.length;
      if (isPath || !piece.includes('.')) continue;
      const names = piece.split(/\.{2,}/).map(withoutMarks);
      hosts.push(...names.filter((name) => HOST.test(name)));
    }
  }
  return hosts;
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
