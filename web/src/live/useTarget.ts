// The comment that the address points to: looked for among the older ones, and brought into view.

import { useEffect, useState } from 'react';

import { orderOfNow } from './commentOrder';
import { client } from './graph/client';
import { PostCommentsDocument, type PostCommentsQuery } from './graph/generated';
import { COMMENTS_PAGE, LARGEST_PAGE } from './graph/pageSizes';
import { readComment, readOlderComments } from './graph/read';
import { commentsAfter } from './part';
import { placeOfNow } from './place';
import { toNewest } from './route';
import { useTargetComment } from './useRoute';

/** A comment that is further back is not looked for. */
const PAGES_MAX = 20;

/** The comment for which the list begins with the newest again: it is shown, wherever the page was scrolled meanwhile. */
let sought: string | undefined;

type Discussion = NonNullable<PostCommentsQuery['post']>;

export function useTarget({ id: postId }: Discussion): { target: string | undefined; isMissing: boolean } {
  const target = useTargetComment();
  const [missing, setMissing] = useState<string>();

  useEffect(() => {
    if (target === undefined) return;
    let stopped = false;
    void find(postId, target, () => stopped)
      .catch(() => false)
      .then((isThere) => {
        if (stopped) return;
        if (!isThere) setMissing(target);
        // A reader who comes back stays where the reading ended.
        else if (!placeOfNow() || sought === target) show(target);
      });
    return () => {
      stopped = true;
    };
  }, [postId, target]);

  return { target, isMissing: target !== undefined && missing === target };
}

/**
 * Loads older comments until the one is there; tells whether it is. In an older part of the list it may be before all
 * that can be loaded: the list begins with the newest then, and is searched again.
 */
async function find(postId: string, target: string, isStopped: () => boolean): Promise<boolean> {
  if (isLoaded(postId, target)) return true;
  if ((await readComment(target)) !== postId) return false;
  if (commentsAfter(postId) !== undefined) {
    if (!isStopped()) {
      sought = target;
      toNewest();
    }
    return true;
  }
  for (let page = 0; page < PAGES_MAX && !isStopped(); page++) {
    const { hasNextPage, endCursor } = discussionOf(postId)?.comments.pageInfo ?? {};
    if (!hasNextPage) return false;
    await readOlderComments(postId, endCursor ?? null, LARGEST_PAGE);
    if (isLoaded(postId, target)) return true;
  }
  return false;
}

function discussionOf(id: string): Discussion | null | undefined {
  const variables = { id, first: COMMENTS_PAGE, orderBy: orderOfNow() };
  return client.readQuery({ query: PostCommentsDocument, variables })?.post;
}

function isLoaded(postId: string, commentId: string): boolean {
  const edges = discussionOf(postId)?.comments.edges ?? [];
  return edges.some(({ node }) => (node as { id: string }).id === commentId);
}

/** Once it is drawn. A list that begins again may have to come first: it is sought until then, and shown with the list. */
function show(target: string): void {
  requestAnimationFrame(() => {
    const element = document.getElementById(`comment-${target}`);
    if (!element) return;
    sought = undefined;
    element.scrollIntoView({ block: 'center' });
    element.focus({ preventScroll: true });
  });
}
