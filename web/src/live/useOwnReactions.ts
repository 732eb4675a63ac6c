// Reads the reader's own reactions to the comments on the page: apart from the comments, which are the same for all.

import { useEffect } from 'react';

import { useSession } from '../signIn/useSession';
import { client } from './graph/client';
import { type CommentOrder, OwnReactionFragmentDoc, OwnReactionsDocument } from './graph/generated';
import { LARGEST_PAGE } from './graph/pageSizes';

/** `begin`: the cursor after which the list begins. Reads again whenever more comments are loaded, and when the reader signs in. */
export function useOwnReactions(
  postId: string,
  orderBy: CommentOrder,
  begin: string | undefined,
  loaded: number,
): void {
  const session = useSession();
  const reader = session?.ids.join(' ');
  // What arrives one by one is new, and has none.
  const pages = Math.ceil(loaded / LARGEST_PAGE);
  const hasSome = loaded > 0;

  useEffect(() => {
    if (reader === undefined || !hasSome) return;
    let stopped = false;
    // Without them the buttons still work.
    read(postId, orderBy, begin ?? null, pages, () => stopped).catch(() => {});
    return () => {
      stopped = true;
    };
  }, [postId, orderBy, begin, pages, hasSome, reader]);
}

async function read(
  id: string,
  orderBy: CommentOrder,
  begin: string | null,
  pages: number,
  isStopped: () => boolean,
): Promise<void> {
  let after = begin;
  for (let page = 0; page < pages; page++) {
    const variables: { id: string; first: number; after: string | null; orderBy: CommentOrder } = {
      id,
      first: LARGEST_PAGE,
      after,
      orderBy,
    };
    const { data } = await client.query({
      query: OwnReactionsDocument,
      variables,
      fetchPolicy: 'no-cache',
    });
    if (isStopped() || !data?.post) return;
    const { edges, pageInfo } = data.post.comments;
    client.cache.batch({
      update: (cache) =>
        edges.forEach(({ node }) =>
          cache.writeFragment({
            fragment: OwnReactionFragmentDoc,
            fragmentName: 'OwnReaction',
            data: node as never,
          }),
        ),
    });
    if (!pageInfo.hasNextPage) return;
    after = pageInfo.endCursor ?? null;
  }
}
