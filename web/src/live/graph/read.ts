// Everything that the page reads goes through here into the cache, where the views find it.
//
// An answer may be older than what subscriptions have told in the meantime, so it is taken in below
// that. Views do not read by themselves: a query of Apollo Client shows no change of the cache while
// it waits for an answer.

import type { TypedDocumentNode } from '@apollo/client';

import { orderOfNow } from '../commentOrder';
import { commentsAfter, postsAfter } from '../part';
import { wentByItself } from '../route';
import { client } from './client';
import { isCut } from './cut';
import {
  CommentDocument,
  type CommentOrder,
  CommentPartsFragmentDoc,
  OlderCommentsDocument,
  type OpenPostFragment,
  OpenPostFragmentDoc,
  PostCommentsDocument,
  PostDocument,
  PostSummaryDocument,
  PostSummaryFragmentDoc,
  PostsDocument,
  type PostSummaryFragment,
  PostVersionDocument,
  PostVersionsDocument,
} from './generated';
import { forgetComment, forgetOtherOrders, forgetPost, takeIn } from './lists';
import {
  COMMENTS_PAGE,
  firstComments,
  firstListBytes,
  firstPosts,
  firstTextBytes,
  LARGEST_PAGE,
  POSTS_PAGE,
} from './pageSizes';
import { noteComments, notePosts } from './parts';

/** From the server, and not with the answer to an equal query that was sent before. */
const ANEW = { fetchPolicy: 'no-cache', context: { queryDeduplication: false } } as const;

const underWay = new Map<string, Promise<unknown>>();

/** Of each post whose text was read, the `updatedAt` that came with that text. */
const contentVersions = new Map<string, string>();

/** The `updatedAt` of the text that is shown of a post, which a newer list may have passed. */
export function contentVersionOf(post: { id: string; updatedAt: string }): string {
  return contentVersions.get(post.id) ?? post.updatedAt;
}

/** Notes that a post's text came with this `updatedAt`. */
export function noteContent(post: { id: string; updatedAt: string }): void {
  contentVersions.set(post.id, post.updatedAt);
}

/** Whether a list has brought a newer version of a post than its text that is shown. */
export function isContentStale(id: string): boolean {
  const version = contentVersions.get(id);
  return version !== undefined && version !== summaryOf(id)?.updatedAt;
}

/**
 * Reads the posts that are on the page, as many as there are; gives their ids. What is there already is compared
 * first, without its texts.
 */
export async function readList(): Promise<string[]> {
  for (;;) {
    const loaded = loadedPosts();
    const wanted = loaded?.length ?? firstPosts();
    const bytes = loaded ? null : firstListBytes();
    const after = postsAfter();
    let ids: string[] | undefined;
    await takeIn(
      async () =>
        (loaded && (await readVersions(wanted, after))) ??
        (await readPages(PostsDocument, wanted, after, bytes)),
      (posts) => {
        // The reader has gone on to another part of the list meanwhile.
        if (after !== postsAfter()) return;
        // Older posts have come meanwhile: this answer ends before them, and would take them off the page.
        if (loaded && loadedPosts()?.ids.at(-1) !== loaded.ids.at(-1)) return;
        client.writeQuery({ query: PostsDocument, variables: { first: POSTS_PAGE }, data: { posts } });
        notePosts(after);
        ids = posts.edges.map((edge) => (edge.node as PostSummaryFragment).id);
      },
    );
    if (ids) return ids;
  }
}

interface LoadedPosts {
  ids: string[];
  /** As many as there may be: a list that goes on may have ended for its length. */
  length: number;
}

/** The posts on the page; undefined before the list was read. */
function loadedPosts(): LoadedPosts | undefined {
  const loaded = client.readQuery({ query: PostsDocument, variables: { first: POSTS_PAGE } });
  if (!loaded) return undefined;
  const { edges, pageInfo } = loaded.posts;
  const ids = edges.map((edge) => (edge.node as PostSummaryFragment).id);
  const isPart = pageInfo.hasNextPage && ids.length > 0;
  return { ids, length: isPart ? ids.length : Math.max(POSTS_PAGE, ids.length) };
}

/** The list with the texts that are known; undefined when one of them is missing or has changed. */
async function readVersions(wanted: number, after: string | undefined) {
  const { edges, ...rest } = await readPages(PostVersionsDocument, wanted, after);
  const known: { __typename?: 'PostEdge'; cursor: string; node: PostSummaryFragment }[] = [];
  for (const { node, ...edge } of edges) {
    const post = summaryOf(node.id);
    if (post?.updatedAt !== node.updatedAt) return undefined;
    known.push({ ...edge, node: { ...post, commentCount: node.commentCount } });
  }
  return { ...rest, edges: known };
}

/** What a list shows of a post, where that is known. */
export function summaryOf(id: string): PostSummaryFragment | undefined {
  const at = client.cache.identify({ __typename: 'Post', id });
  const post = client.readFragment({
    id: at,
    fragment: PostSummaryFragmentDoc,
    fragmentName: 'PostSummary',
  });
  return post ?? undefined;
}

/**
 * Reads one post, with its text where that was shown and may have changed; tells whether it is there. One that is not there
 * any more leaves the page.
 */
export async function rereadPost(id: string): Promise<boolean> {
  if (!openPost(id)) return readPostAs(PostSummaryDocument, { id });
  if (isContentStale(id)) return readPost(id);
  const isThere = await readPostAs(PostVersionDocument, { id });
  return isThere && isContentStale(id) ? readPost(id) : isThere;
}

/** Reads one post with its text, of which no more is cut than was before; tells whether it is there. */
export function readPost(id: string): Promise<boolean> {
  const known = openPost(id);
  return readPostAs(PostDocument, { id, textBytes: known && isCut(known) ? firstTextBytes(true) : null });
}

/** Reads one post with all of its text; tells whether it is there. */
export function readWholePost(id: string): Promise<boolean> {
  return readPostAs(PostDocument, { id, textBytes: null });
}

/** A post whose text was read. */
function openPost(id: string): OpenPostFragment | undefined {
  const at = client.cache.identify({ __typename: 'Post', id });
  const post = client.readFragment({ id: at, fragment: OpenPostFragmentDoc, fragmentName: 'OpenPost' });
  return (post as OpenPostFragment | null) ?? undefined;
}

async function readPostAs<Data extends { post?: unknown }, Variables extends { id: string }>(
  query: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): Promise<boolean> {
  const { id } = variables;
  let isThere = false;
  await takeIn(
    async () => (await client.query({ query, variables, ...ANEW })).data as Data | undefined,
    (data) => {
      const post = data?.post as { id: string; updatedAt: string; content?: string } | null | undefined;
      isThere = post != null;
      if (!data || !post) return forgetPost(id);
      client.writeQuery({ query, variables, data });
      if (post.content !== undefined) noteContent(post);
    },
  );
  return isThere;
}

/**
 * Reads a post's first comments, the newest if the address names no others; gives the cursor to follow these from. A
 * post that is not there any more leaves the page.
 */
export async function readComments(id: string, orderBy = orderOfNow()): Promise<string | undefined> {
  const first = firstComments();
  const after = orderBy === 'NEWEST_FIRST' ? commentsAfter(id) : undefined;
  const known = { query: PostCommentsDocument, variables: { id, first: COMMENTS_PAGE, orderBy } };
  const commentBytes = client.readQuery(known) ? null : firstTextBytes(!wentByItself());
  let cursor: string | undefined;
  await takeIn(
    async () => {
      const variables = { id, first, after: after ?? null, orderBy, commentBytes };
      return (await client.query({ query: PostCommentsDocument, variables, ...ANEW })).data;
    },
    (data) => {
      cursor = data?.post?.commentChangesCursor;
      if (!data?.post) return forgetPost(id);
      // The reader has gone on to another part of the list meanwhile.
      if (orderBy === 'NEWEST_FIRST' && after !== commentsAfter(id)) return;
      client.writeQuery({ ...known, data });
      if (orderBy === 'NEWEST_FIRST') noteComments(id, after);
      // They are followed from an earlier cursor than this one.
      forgetOtherOrders(id, orderBy);
    },
  );
  return cursor;
}

/** Reads the comments after the last that is loaded. */
export async function readOlderComments(
  id: string,
  after: string | null,
  first = COMMENTS_PAGE,
): Promise<void> {
  const query = OlderCommentsDocument;
  const variables = { id, first, after, orderBy: orderOfNow() };
  const part = commentsAfter(id);
  const { data } = await client.query({ query, variables, ...ANEW });
  if (data && part === commentsAfter(id)) client.writeQuery({ query, variables, data });
}

/** Reads one comment; gives its post's id, and nothing when it is not there any more. */
export async function readComment(id: string): Promise<string | undefined> {
  const { data } = await client.query({ query: CommentDocument, variables: { id }, ...ANEW });
  if (!data?.comment) {
    forgetComment(id);
    return undefined;
  }
  client.cache.writeFragment({
    fragment: CommentPartsFragmentDoc,
    fragmentName: 'CommentParts',
    data: data.comment as never,
  });
  return data.comment.post.id;
}

/** Reads the posts after the last that is loaded; gives their ids. */
export async function readOlderPosts(after: string | null): Promise<string[]> {
  const query = PostsDocument;
  const variables = { first: POSTS_PAGE, after };
  const part = postsAfter();
  let ids: string[] = [];
  await takeIn(
    async () => (await client.query({ query, variables, ...ANEW })).data,
    (data) => {
      if (!data || part !== postsAfter()) return;
      client.writeQuery({ query, variables, data });
      ids = data.posts.edges.map((edge) => (edge.node as PostSummaryFragment).id);
    },
  );
  return ids;
}

/** The names of readings, for `readOnce`. */
export function postsName(after: string | undefined): string {
  return `posts ${after ?? ''}`;
}

export function commentsName(id: string, orderBy: CommentOrder, after: string | undefined): string {
  return `comments ${id} ${orderBy} ${after ?? ''}`;
}

/** The reading of this name that is under way, or else a new one. */
export function readOnce(name: string, read: () => Promise<unknown>): Promise<unknown> {
  const known = underWay.get(name);
  if (known) return known;
  const reading = read().finally(() => underWay.delete(name));
  underWay.set(name, reading);
  return reading;
}

interface Page<Edge> {
  edges: Edge[];
  pageInfo: { hasNextPage: boolean; endCursor?: string | null };
}

interface PageVariables {
  first: number;
  after?: string | null;
  listBytes?: number | null;
}

/** As many as are wanted, or up to where a page ends for its length. */
async function readPages<Edge, Posts extends Page<Edge>>(
  query: TypedDocumentNode<{ posts: Posts & Page<Edge> }, PageVariables>,
  wanted: number,
  begin: string | undefined,
  listBytes: number | null = null,
): Promise<Posts> {
  const edges: Edge[] = [];
  for (let after: string | null = begin ?? null; ;) {
    const first = Math.min(LARGEST_PAGE, wanted - edges.length);
    const variables: PageVariables = { first, after, ...(listBytes !== null && { listBytes }) };
    const { data } = await client.query({ query, variables, ...ANEW });
    if (!data) throw new Error('the list of posts came without data');
    const { posts } = data as { posts: Posts };
    edges.push(...posts.edges);
    const { hasNextPage, endCursor } = posts.pageInfo;
    const isShort = posts.edges.length < first;
    if (!hasNextPage || isShort || edges.length >= wanted) return { ...posts, edges };
    after = endCursor ?? null;
  }
}
