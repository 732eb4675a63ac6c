// A React hook: a post's newest comments, kept up to date. It needs React and graphql-ws, and no GraphQL client.

import { createClient } from 'graphql-ws';
import { useEffect, useState } from 'react';

const QUERY = `query ($postId: ID!) {
  post(id: $postId) { commentChangesCursor comments(first: 20) { edges { node { id author text } } } }
}`;
const CHANGES = `subscription ($postId: ID!, $after: String) {
  commentChanges(postId: $postId, after: $after) {
    ... on CommentAdded { cursor comment { id author text } }
    ... on CommentEdited { cursor comment { id author text } }
    ... on CommentDeleted { cursor commentId }
  }
}`;

/** The comments, newest first; `undefined` until they are there. `url` is the gateway's, with `/graphql`. */
export function useComments(url, postId) {
  const [comments, setComments] = useState();

  useEffect(() => {
    const client = createClient({
      url: url.replace(/^http/, 'ws'),
      shouldRetry: () => true,
      retryAttempts: Infinity,
    });
    const run = async (operation) => {
      for await (const { data } of client.iterate(operation)) return data;
    };
    const follow = async () => {
      const { post } = await run({ query: QUERY, variables: { postId } });
      setComments(post.comments.edges.map((edge) => edge.node));
      // graphql-ws sends the same variables again after a lost connection: from the last cursor nothing is missed.
      const variables = { postId, after: post.commentChangesCursor };
      for await (const { data, errors } of client.iterate({ query: CHANGES, variables })) {
        if (errors) break; // RESYNC_REQUIRED, for example: docs/errors.md
        const { cursor, comment, commentId } = data.commentChanges;
        if (!cursor) continue; // A change of another kind, such as a reaction.
        variables.after = cursor;
        setComments((before) => {
          const others = before.filter(({ id }) => id !== (comment?.id ?? commentId));
          const at = before.findIndex(({ id }) => id === comment?.id);
          return comment ? others.toSpliced(Math.max(at, 0), 0, comment) : others;
        });
      }
    };
    follow().catch(console.error);
    return () => void client.dispose();
  }, [url, postId]);

  return comments;
}
