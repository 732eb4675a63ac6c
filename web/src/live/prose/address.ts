// The addresses that a text of a reader may lead to.

const PROTOCOLS = new Set(['http:', 'https:', 'mailto:']);
/** Something that a reader takes for an address. */
const LIKE_AN_ADDRESS = /^(?:https?:\/\/|www\.)|^[^\s/]+\.[^\s/.]{2,}(?:\/|$)/iu;
/** What a reader does not see of a link's words: the marks of Markdown, and characters that take no room. */
const UNSEEN = /[*_`\\\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;

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

/** The host that a link leads to, where its words look like another one's address. */
export function otherHost(words: string, address: string): string | undefined {
  const shown = words.replace(UNSEEN, '').trim();
  if (!LIKE_AN_ADDRESS.test(shown)) return undefined;
  const host = parsed(address)?.host;
  const said = parsed(/^https?:/i.test(shown) ? shown : `http://${shown}`)?.host;
  return host && host.replace(/^www\./, '') !== said?.replace(/^www\./, '') ? host : undefined;
}

function parsed(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}
