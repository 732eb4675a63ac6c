// EventSource, without a library: it reconnects by itself and sends the last event's id, which is
// the cursor, so nothing is missed. The same code runs in a browser.
//
//   node --experimental-eventsource event-source.js      # or GATEWAY=http://host/graphql

const url = globalThis.process?.env.GATEWAY ?? 'http://127.0.0.1:4000/graphql';

/** Runs a query or a mutation. */
async function run(query, variables) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(errors[0].message);
  return data;
}

const { posts } = await run('{ posts(first: 1) { edges { node { id title commentChangesCursor } } } }');
const post = posts.edges[0].node;
console.log(`the newest post: ${post.title}`);

const subscription = new URLSearchParams({
  query: `subscription ($postId: ID!, $after: String) {
    commentChanges(postId: $postId, after: $after) {
      ... on CommentAdded { cursor comment { author text } }
      ... on CommentEdited { cursor comment { author text } }
      ... on CommentDeleted { cursor commentId }
    }
  }`,
  variables: JSON.stringify({ postId: post.id, after: post.commentChangesCursor }),
});
const changes = new EventSource(`${url}?${subscription}`);
changes.addEventListener('next', (event) => {
  const { data, errors } = JSON.parse(event.data);
  if (errors) throw new Error(errors[0].message);
  console.log(`live: ${data.commentChanges.comment?.text} (id ${event.lastEventId ? 'present' : 'missing'})`);
  changes.close(); // An application goes on.
});
// The server has ended the subscription: without this, EventSource would open it again.
changes.addEventListener('complete', () => changes.close());

await run('mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }', {
  input: { postId: post.id, text: 'Hello from EventSource', author: 'Example' },
});
