// A comment's text as nodes, never as HTML: with its Markdown once what draws it is there, and until then with its lines
// as they are, and addresses as links.

import { hasMarkup } from '../live/prose/markup';
import type { drawMarkdown } from './markdown';

const ADDRESS = /https?:\/\/[^\s<>"']+/g;
/** They end a sentence, not an address. */
const ENDING = /[.,:;!?)\]}»”’]+$/;

/** A stranger wrote it. */
export const LINK = { rel: 'nofollow ugc noopener noreferrer', target: '_blank' };

let draw: typeof drawMarkdown | undefined;
let loading: Promise<void> | undefined;

/**
 * The one place that knows how texts are written. `redraw` is called when what draws this text is there; where it cannot
 * be loaded, the text stays as it is.
 */
export function nodesOf(text: string, redraw: () => void): readonly (Node | string)[] {
  if (!hasMarkup(text)) return [text];
  if (draw) return draw(text);
  loading ??= import('./markdown').then(
    (loaded) => void (draw = loaded.drawMarkdown),
    // The next text asks again.
    () => void (loading = undefined),
  );
  void loading.then(() => draw && redraw());
  return withLinks(text);
}

function withLinks(text: string): (Node | string)[] {
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
    Object.assign(link, LINK);
    nodes.push(text.slice(from, index), link);
    from = index + address.length;
  }
  nodes.push(text.slice(from));
  return nodes;
}
