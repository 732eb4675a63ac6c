// Apollo Client: queries and mutations over HTTP, subscriptions over graphql-ws.
//
//   node apollo-client.js                   # or GATEWAY=http://host/graphql

import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { relayStylePagination } from '@apollo/client/utilities';
import { OperationTypeNode } from 'graphql';
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

const client = new ApolloClient({
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(socket),
    new HttpLink({ uri: url }),
  ),
  cache: new InMemoryCache({
    // The pages of a list join in the cache as they are fetched.
    typePolicies: {
      Query: { fields: { posts: relayStylePagination() } },
      Post: { fields: { comments: relayStylePagination(['orderBy']) } },
    },
  }),
});

const NEWEST = gql`
  query {
    posts(first: 1) { edges { node { id title commentCount commentChangesCursor } } }
  }
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

const { data } = await client.query({ query: NEWEST });
const post = data.posts.edges[0].node;
console.log(`the newest post: ${post.title}, ${post.commentCount} comments`);

const variables = { postId: post.id, after: post.commentChangesCursor };
const arrived = new Promise((resolve, reject) => {
  // An error that ends the subscription comes to `next` too, before it completes.
  const next = ({ data, error }) => (error ? reject(error) : resolve(data.commentChanges.comment));
  client.subscribe({ query: CHANGES, variables }).subscribe({ next });
});

const input = { postId: post.id, text: 'Hello from Apollo Client', author: 'Example' };
await client.mutate({ mutation: WRITE, variables: { input } });
console.log(`live: ${(await arrived).text}`);

client.stop();
await socket.dispose();
