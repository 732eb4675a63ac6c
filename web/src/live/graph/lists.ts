// Changes to the two cached lists that no single query answers for.

import type { Reference } from '@apollo/client';

import { client } from './client';

interface CachedEdge {
  __typename?: string;
  cursor: string;
  node: Reference;
}

interface CachedConnection {
  edges: CachedEdge[];
  pageInfo?: { hasNextPage?: boolean };
}

/**
 * Adds a comment to its post's list, newest first; one that is already there stays as it is. Tells
 * whether it was added.
 */
export function insertComment(postId: string, commentId: string): boolean {
  const post = client.cache.identify({ __typename: 'Post', id: postId });
  return post !== undefined && insertByCreation(post, 'comments', { __typename: 'Comment', id: commentId });
}

/** Adds a post to the list of posts. */
export function insertPost(postId: string): void {
  insertByCreation('ROOT_QUERY', 'posts', { __typename: 'Post', id: postId });
}

/** Takes an object out of every list that shows it. */
export function forget(typename: 'Post' | 'Comment', id: string): void {
  const object = client.cache.identify({ __typename: typename, id });
  if (!object) return;
  client.cache.evict({ id: object });
  client.cache.gc();
}

function insertByCreation(owner: string, field: string, item: { __typename: string; id: string }): boolean {
  return client.cache.modify<Record<string, CachedConnection>>({
    id: owner,
    fields: {
      [field]: (list, { readField, toReference }) => {
        const node = toReference(item);
        if (!node || !('edges' in list)) return list;
        if (list.edges.some((edge) => edge.node.__ref === node.__ref)) return list;
        const createdAt = (reference: Reference) =>
          Date.parse(readField<string>('createdAt', reference) ?? '');
        const older = list.edges.findIndex((edge) => createdAt(edge.node) <= createdAt(node));
        // Older than all that is loaded: it comes with its own page.
        if (older < 0 && list.pageInfo?.hasNextPage) return list;
        const at = older < 0 ? list.edges.length : older;
        const edge = { __typename: `${item.__typename}Edge`, cursor: '', node };
        return { ...list, edges: [...list.edges.slice(0, at), edge, ...list.edges.slice(at)] };
      },
    },
  });
}
