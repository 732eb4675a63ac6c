// Loads what draws Markdown as soon as the first answers have some, while the page's code is still on the way.

import { openPostOf, started, startedComments } from '../graph/started';
import { hasMarkup, loadDrawer } from './markup';

interface Shown {
  content?: string;
  comments?: { edges: { node: unknown }[] };
}

export function loadAhead(): void {
  for (const answer of [started, startedComments]) {
    void answer.then((data) => {
      const post = data && (openPostOf<unknown>(data as never) as Shown | null | undefined);
      const texts = post?.comments?.edges.map(({ node }) => (node as { text: string }).text) ?? [];
      if ([post?.content ?? '', ...texts].some(hasMarkup)) void loadDrawer();
    });
  }
}
