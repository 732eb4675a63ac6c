// Everything that the page reads goes through here into the cache, where the views find it.
//
// An answer may be older than what subscriptions have told in the meantime, so it is taken in below
// that. Views do not read by themselves: a query of Apollo Client shows no change of the cache while
// it waits for an answer.

import { client } from './client';
import {
  OlderCommentsDocument,
  PostDocument,
  PostPageDocument,
  PostsDocument,
  type PostsQuery,
} from './generated';
import { forgetPost, takeIn } from './lists';
import { COMMENTS_PAGE, LARGEST_PAGE, POSTS_PAGE } from './pageSizes';

/** From the server, and not with the answer to an equal query that was sent before. */
const ANEW = { fetchPolicy: 'no-cache', context: { queryDeduplication: false } } as const;

const underWay = new Map<string, Promise<unknown>>();

/** Reads the posts that are on the page, as many as there are; gives their ids. */
export async function readList(): Promise<string[]> {
  const loaded = client.readQuery({ query: PostsDocument, variables: { first: POSTS_PAGE } });
  const wanted = Math.max(POSTS_PAGE, loaded?.posts.edges.length ?? 0);
  let ids: string[] = [];
  await takeIn(
    () => readPages(wanted),
    (posts) => {
      client.writeQuery({ query: PostsDocument, variables: { first: POSTS_PAGE }, data: { posts } });
      ids = posts.edges.map((edge) => (edge.node as { id: string }).id);
    },
  );
  return ids;
}

/** Reads one post; tells whether it is there. One that is not there any more leaves the page. */
export async function readPost(id: string): Promise<boolean> {
  let isThere = false;
  await takeIn(
    async () => (await client.query({ query: PostDocument, variables: { id }, ...ANEW })).data,
    (data) => {
      isThere = data?.post != null;
      if (data?.post) client.writeQuery({ query: PostDocument, variables: { id }, data });
      else forgetPost(id);
    },
  );
  return isThere;
}

/**
 * Reads one post with its newest comments; gives the cursor to follow these from. A post that is not
 * there any more leaves the page.
 */
export async function readPostPage(id: string): Promise<string | undefined> {
  const variables = { id, first: COMMENTS_PAGE };
  let cursor: string | undefined;
  await takeIn(
    async () => (await client.query({ query: PostPageDocument, variables, ...ANEW })).data,
    (data) => {
      cursor = data?.post?.commentChangesCursor;
      if (data?.post) client.writeQuery({ query: PostPageDocument, variables, data });
      else forgetPost(id);
    },
  );
  return cursor;
}

/** Reads the comments after the last that is loaded. */
export async function readOlderComments(id: string, after: string | null): Promise<void> {
  const query = OlderCommentsDocument;
  const variables = { id, first: COMMENTS_PAGE, after };
  const { data } = await client.query({ query, variables, ...ANEW });
  if (data) client.writeQuery({ query, variables, data });
}

/** Reads the posts after the last that is loaded. */
export async function readOlderPosts(after: string | null): Promise<void> {
  const query = PostsDocument;
  const variables = { first: POSTS_PAGE, after };
  await takeIn(
    async () => (await client.query({ query, variables, ...ANEW })).data,
    (data) => {
      if (data) client.writeQuery({ query, variables, data });
    },
  );
}

/** The reading of this name that is under way, or else a new one. */
export function readOnce(name: string, read: () => Promise<unknown>): Promise<unknown> {
  const known = underWay.get(name);
  if (known) return known;
  const reading = read().finally(() => underWay.delete(name));
  underWay.set(name, reading);
  return reading;
}

async function readPages(wanted: number): Promise<PostsQuery['posts']> {
  const edges: PostsQuery['posts']['edges'] = [];
  for (let after: string | null = null; ;) {
    const variables: { first: number; after: string | null } = {
      first: Math.min(LARGEST_PAGE, wanted - edges.length),
      after,
    };
    const { data } = await client.query({ query: PostsDocument, variables, ...ANEW });
    if (!data) throw new Error('the list of posts came without data');
    edges.push(...data.posts.edges);
    const { hasNextPage, endCursor } = data.posts.pageInfo;
    if (!hasNextPage || edges.length >= wanted) return { ...data.posts, edges };
    after = endCursor ?? null;
  }
}
