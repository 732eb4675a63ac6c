// Changes to the two cached lists that no single query answers for, also while one is read again.

import type { Reference } from '@apollo/client';

import { client } from './client';
import { type CommentOrder, CommentPartsFragmentDoc, PostDocument } from './generated';
import { lacksNewest } from './parts';

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
 * Adds a comment to its post's list, at its place in the list's order; one that is already there stays as it is. Tells
 * whether it was added.
 */
export function insertComment(postId: string, commentId: string): boolean {
  const post = client.cache.identify({ __typename: 'Post', id: postId });
  const comment = { __typename: 'Comment', id: commentId };
  return post !== undefined && insertByCreation(post, 'comments', comment, lacksNewest(postId));
}

/** Adds a post to the list of posts, where that has the newest. */
export function insertPost(postId: string): void {
  const post = { __typename: 'Post', id: postId };
  change(() => void insertByCreation('ROOT_QUERY', 'posts', post, lacksNewest()));
}

/** Takes the lists of a post's comments in other orders out of the cache. */
export function forgetOtherOrders(postId: string, orderBy: CommentOrder): void {
  client.cache.modify({
    id: client.cache.identify({ __typename: 'Post', id: postId }),
    fields: {
      comments: (list, { storeFieldName, DELETE }) =>
        storeFieldName.includes(`"${orderBy}"`) ? (list as unknown) : DELETE,
    },
  });
}

/** Takes a comment out of its post's list, and out of its parent's count. */
export function forgetComment(id: string): void {
  const comment = client.cache.identify({ __typename: 'Comment', id });
  const known = client.readFragment({
    id: comment,
    fragment: CommentPartsFragmentDoc,
    fragmentName: 'CommentParts',
  });
  if (known?.parent) {
    const parent = client.cache.identify({ __typename: 'Comment', id: known.parent.id });
    client.cache.modify({
      id: parent,
      fields: { replyCount: (count) => Math.max(0, Number(count) - 1) },
    });
  }
  evict({ __typename: 'Comment', id });
}

/** Takes a post out of the list; where it is open, the page says that it is not here any more. */
export function forgetPost(id: string): void {
  change(() => {
    client.writeQuery({ query: PostDocument, variables: { id }, data: { post: null } });
    evict({ __typename: 'Post', id });
  });
}

/** Keeps what was just heard of a post, where an answer that is under way may be older. */
export function keepCount(postId: string, commentCount: number): void {
  change(() => {
    const id = client.cache.identify({ __typename: 'Post', id: postId });
    client.cache.modify({ id, fields: { commentCount: () => commentCount } });
  });
}

/** The changes of posts that came while an answer was under way. */
const meanwhile = new Set<(() => void)[]>();

/**
 * Reads, and writes the answer to the cache. It may be older than the changes that came meanwhile:
 * they are made again on top of it.
 */
export async function takeIn<Answer>(
  read: () => Promise<Answer>,
  write: (answer: Answer) => void,
): Promise<void> {
  const changes: (() => void)[] = [];
  meanwhile.add(changes);
  try {
    const answer = await read();
    client.cache.batch({
      update: () => {
        write(answer);
        changes.forEach((again) => again());
      },
    });
  } finally {
    meanwhile.delete(changes);
  }
}

function change(make: () => void): void {
  meanwhile.forEach((changes) => changes.push(make));
  make();
}

function evict(entity: { __typename: string; id: string }): void {
  const id = client.cache.identify(entity);
  if (id === undefined) return;
  client.cache.evict({ id });
  client.cache.gc();
}

function insertByCreation(
  owner: string,
  field: string,
  item: { __typename: string; id: string },
  isPart: boolean,
): boolean {
  return client.cache.modify<Record<string, CachedConnection>>({
    id: owner,
    fields: {
      [field]: (list, { readField, storeFieldName, toReference }) => {
        const node = toReference(item);
        if (!node || !('edges' in list)) return list;
        if (list.edges.some((edge) => edge.node.__ref === node.__ref)) return list;
        const createdAt = (reference: Reference) =>
          Date.parse(readField<string>('createdAt', reference) ?? '');
        const comesAfter = (other: Reference) => {
          if (storeFieldName.includes('"OLDEST_FIRST"')) return createdAt(other) > createdAt(node);
          // A new comment has no replies: it is the first of those.
          if (storeFieldName.includes('"MOST_REPLIED"') && readField<number>('replyCount', other))
            return false;
          return createdAt(other) <= createdAt(node);
        };
        const next = list.edges.findIndex((edge) => comesAfter(edge.node));
        let at = next < 0 ? list.edges.length : next;
        // Before or after all that is loaded: it comes with its own page, but a reply may stand below its parent before
        // that.
        const isBefore = isPart && next === 0;
        if (isBefore || (next < 0 && list.pageInfo?.hasNextPage)) {
          const parent = readField<string>('parentId', node);
          const isParent = ({ node: other }: CachedEdge) => readField<string>('id', other) === parent;
          if (parent == null || !list.edges.some(isParent)) return list;
          // Among its siblings it is sorted where it is shown. The next page is put behind the last edge, which stays.
          at = isBefore ? 0 : list.edges.length - 1;
        }
        const edge = { __typename: `${item.__typename}Edge`, cursor: '', node };
        return { ...list, edges: [...list.edges.slice(0, at), edge, ...list.edges.slice(at)] };
      },
    },
  });
}
