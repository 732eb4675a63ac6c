// graphql-sse: everything over HTTP, subscriptions as server-sent events.
//
//   node graphql-sse.js                     # or GATEWAY=http://host/graphql

import { createClient } from 'graphql-sse';

const client = createClient({ url: process.env.GATEWAY ?? 'http://127.0.0.1:4000/graphql' });

/** Runs a query or a mutation. */
async function run(query, variables) {
  for await (const { data, errors } of client.iterate({ query, variables })) {
    if (errors) throw new Error(errors[0].message);
    return data;
  }
}

const { posts } = await run('{ posts(first: 1) { edges { node { id title commentChangesCursor } } } }');
const post = posts.edges[0].node;
console.log(`the newest post: ${post.title}`);

// A retry sends this request again: what `after` holds by then decides where the changes go on.
const variables = { postId: post.id, after: post.commentChangesCursor };
const changes = client.iterate({
  query: `subscription ($postId: ID!, $after: String) {
    commentChanges(postId: $postId, after: $after) {
      ... on CommentAdded { cursor comment { author text } }
      ... on CommentEdited { cursor comment { author text } }
      ... on CommentDeleted { cursor commentId }
    }
  }`,
  variables,
});

await run('mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }', {
  input: { postId: post.id, text: 'Hello from graphql-sse', author: 'Example' },
});

for await (const { data, errors } of changes) {
  if (errors) throw new Error(errors[0].message);
  variables.after = data.commentChanges.cursor;
  console.log(`live: ${data.commentChanges.comment?.text}`);
  break; // An application goes on.
}
client.dispose();
