// Takes what the address shows into the cache before React draws. A component's own query begins
// after its first paint; by then these answers are there or on their way.

import { client } from './client';
import { PostPageDocument, PostsDocument } from './generated';
import { COMMENTS_PAGE, POSTS_PAGE } from './pageSizes';

/** Without an id, the newest post is asked for when `showsNewest`. */
export async function prefetch(postId: string | undefined, showsNewest: boolean): Promise<void> {
  const posts = client.query({ query: PostsDocument, variables: { first: POSTS_PAGE } });
  const id = postId ?? (showsNewest ? (await posts).data?.posts.edges[0]?.node.id : undefined);
  const variables = { id: id ?? '', first: COMMENTS_PAGE };
  if (id !== undefined) await client.query({ query: PostPageDocument, variables });
  await posts;
}

/** The id of the newest post, when the list has been read already. */
export function newestKnown(): string | undefined {
  const known = client.readQuery({ query: PostsDocument, variables: { first: POSTS_PAGE } });
  return known?.posts.edges[0]?.node.id;
}
