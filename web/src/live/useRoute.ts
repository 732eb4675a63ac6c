// The route of now, for components.

import { useSyncExternalStore } from 'react';

import { orderOf } from './commentOrder';
import type { CommentOrder } from './graph/generated';
import { commentsAfter, postsAfter } from './part';
import { commentOf, type Route, routeOf, wentByItself } from './route';

export function useRoute(): Route {
  // Choosing what the page has opened by itself is a change, too.
  useSyncExternalStore(listen, () => `${location.pathname}${location.search} ${wentByItself()}`);
  return routeOf(location);
}

/** The id of the comment that the address points to. */
export function useTargetComment(): string | undefined {
  return commentOf(useSyncExternalStore(listen, () => location.hash));
}

/** The order of comments that the address names. */
export function useCommentOrder(): CommentOrder {
  return orderOf(useSyncExternalStore(listen, () => location.search));
}

/** The cursor after which the list of posts begins; without one, with the newest. */
export function usePostsAfter(): string | undefined {
  return useSyncExternalStore(listen, postsAfter);
}

/** The cursor after which a post's comments begin. */
export function useCommentsAfter(postId: string): string | undefined {
  return useSyncExternalStore(listen, () => commentsAfter(postId));
}

function listen(changed: () => void): () => void {
  addEventListener('popstate', changed);
  addEventListener('hashchange', changed);
  return () => {
    removeEventListener('popstate', changed);
    removeEventListener('hashchange', changed);
  };
}
