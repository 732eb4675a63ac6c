// Loads what draws Markdown as soon as the first answers have some, while the page's code is still on the way.

import { openPostOf, started, startedComments } from '../graph/started';
import { loadDrawer } from './drawer';
import { hasMarkup } from './markup';

interface Shown {
  content?: string;
  comments?: { edges: { node: unknown }[] };
}

/** Kept once the first texts can be drawn: they have no markup, or its code is there or cannot be loaded. */
export const drawsAhead: Promise<unknown> = Promise.all([loadFor(started), loadFor(startedComments)]);

async function loadFor(answer: Promise<unknown>): Promise<void> {
  const data = await answer;
  const post = data ? (openPostOf<unknown>(data) as Shown | null | undefined) : undefined;
  const texts = post?.comments?.edges.map(({ node }) => (node as { text: string }).text) ?? [];
  if ([post?.content ?? '', ...texts].some(hasMarkup)) await loadDrawer();
}
