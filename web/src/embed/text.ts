// A comment's text as nodes: lines as they are, and addresses as links. Never as HTML.

const ADDRESS = /https?:\/\/[^\s<>"']+/g;
/** They end a sentence, not an address. */
const ENDING = /[.,:;!?)\]}»”’]+$/;

/** The one place that knows how texts are written. */
export function nodesOf(text: string): (Node | string)[] {
  const nodes: (Node | string)[] = [];
  let from = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    const address = found.replace(ENDING, '');
    if (!URL.canParse(address)) continue;
    const { username, password } = new URL(address);
    // It reads as another host's.
    if (username || password) continue;
    const link = document.createElement('a');
    link.href = address;
    link.textContent = address;
    // A stranger wrote it.
    link.rel = 'nofollow ugc noopener noreferrer';
    link.target = '_blank';
    nodes.push(text.slice(from, index), link);
    from = index + address.length;
  }
  nodes.push(text.slice(from));
  return nodes;
}
