// A comment's Markdown as nodes of the page: what the live page draws, with links as an embed has them.

import { draw, type Drawn } from '../live/prose/drawing';
import { LINK } from './text';

export function drawMarkdown(text: string): Drawn<Node> {
  return draw<Node>(text, (tag, attributes, inner) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries({ ...attributes, ...(tag === 'a' && LINK) }))
      made.setAttribute(name, String(value));
    made.append(...inner);
    return made;
  });
}
