// Apollo Client over HTTP alone: subscriptions come as multipart answers, and no WebSocket is needed.
//
//   node apollo-multipart.js                # or GATEWAY=http://host/graphql

import { ApolloClient, gql, HttpLink, InMemoryCache } from '@apollo/client';

const url = process.env.GATEWAY ?? 'http://127.0.0.1:4000/graphql';
const client = new ApolloClient({ link: new HttpLink({ uri: url }), cache: new InMemoryCache() });

const { data } = await client.query({
  query: gql`
    query {
      posts(first: 1) {
        edges {
          node {
            id
            title
            commentChangesCursor
          }
        }
      }
    }
  `,
});
const post = data.posts.edges[0].node;
console.log(`the newest post: ${post.title}`);

const changes = client.subscribe({
  query: gql`
    subscription ($postId: ID!, $after: String) {
      commentChanges(postId: $postId, after: $after) {
        ... on CommentAdded {
          cursor
          comment {
            id
            text
          }
        }
      }
    }
  `,
  variables: { postId: post.id, after: post.commentChangesCursor },
});
const arrived = new Promise((resolve, reject) => {
  const subscription = changes.subscribe({
    next({ data, error }) {
      subscription.unsubscribe(); // An application goes on.
      if (error) reject(error);
      else resolve(data.commentChanges.comment);
    },
    error: reject,
  });
});

await client.mutate({
  mutation: gql`
    mutation ($input: CreateCommentInput!) {
      createComment(input: $input) {
        comment {
          id
        }
      }
    }
  `,
  variables: { input: { postId: post.id, text: 'Hello over multipart', author: 'Example' } },
});

console.log(`live: ${(await arrived).text}`);
client.stop();
