// urql: queries and mutations over fetch, subscriptions over graphql-ws.
//
//   node urql.js                            # or GATEWAY=http://host/graphql

import { cacheExchange, Client, fetchExchange, gql, subscriptionExchange } from '@urql/core';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const url = process.env.GATEWAY ?? 'http://127.0.0.1:4000/graphql';
const socket = createClient({
  url: url.replace(/^http/, 'ws'),
  webSocketImpl: WebSocket, // Browsers, and Node.js from 22 on, have their own.
  // By default graphql-ws gives up after five tries.
  shouldRetry: () => true,
  retryAttempts: Infinity,
});

const client = new Client({
  url,
  preferGetMethod: false,
  exchanges: [
    cacheExchange,
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query = '', variables }) => ({
        subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
      }),
    }),
  ],
});

const NEWEST = gql`
  query { posts(first: 1) { edges { node { id title commentChangesCursor } } } }
`;
const CHANGES = gql`
  subscription ($postId: ID!, $after: String) {
    commentChanges(postId: $postId, after: $after) {
      ... on CommentAdded { cursor comment { id author text } }
      ... on CommentEdited { cursor comment { id text } }
      ... on CommentDeleted { cursor commentId }
    }
  }
`;
const WRITE = gql`
  mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }
`;

/** The data of an answer, or its error. */
function dataOf({ data, error }) {
  if (error) throw error;
  return data;
}

const post = dataOf(await client.query(NEWEST, {})).posts.edges[0].node;
console.log(`the newest post: ${post.title}`);

const variables = { postId: post.id, after: post.commentChangesCursor };
const arrived = new Promise((resolve) => {
  client.subscription(CHANGES, variables).subscribe(resolve);
});

const input = { postId: post.id, text: 'Hello from urql', author: 'Example' };
dataOf(await client.mutation(WRITE, { input }));
console.log(`live: ${dataOf(await arrived).commentChanges.comment.text}`);

await socket.dispose();
