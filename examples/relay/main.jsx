// Relay: a post's comments, page by page in its pagination container, and new ones live.
//
//   npm run relay

import { Suspense, useMemo } from 'react';
import { createRoot } from 'react-dom/client';
import {
  graphql,
  RelayEnvironmentProvider,
  useLazyLoadQuery,
  usePaginationFragment,
  useSubscription,
} from 'react-relay';

import { environment } from './environment';

function NewestPost() {
  const { posts } = useLazyLoadQuery(
    graphql`
      query mainNewestQuery {
        posts(first: 1) {
          edges {
            node {
              id
            }
          }
        }
      }
    `,
    {},
  );
  const id = posts.edges[0]?.node.id;
  return id ? <Post id={id} /> : <p>No posts yet.</p>;
}

function Post({ id }) {
  const query = graphql`
    query mainPostQuery($id: ID!) {
      ...main_post @arguments(id: $id)
    }
  `;
  return <Comments query={useLazyLoadQuery(query, { id })} />;
}

function Comments({ query }) {
  const { data, loadNext, hasNext, isLoadingNext } = usePaginationFragment(
    graphql`
      fragment main_post on Query
      @refetchable(queryName: "mainPagesQuery")
      @argumentDefinitions(
        id: { type: "ID!" }
        count: { type: "Int", defaultValue: 3 }
        cursor: { type: "String" }
      ) {
        post(id: $id) {
          id
          title
          commentChangesCursor
          comments(first: $count, after: $cursor) @connection(key: "main_comments") {
            __id
            edges {
              node {
                id
                author
                text
              }
            }
          }
        }
      }
    `,
    query,
  );
  const { id, title, commentChangesCursor, comments } = data.post;

  useSubscription(
    useMemo(
      () => ({
        subscription: graphql`
          subscription mainChangesSubscription($postId: ID!, $after: String, $connections: [ID!]!) {
            commentChanges(postId: $postId, after: $after) {
              ... on CommentAdded {
                comment @prependNode(connections: $connections, edgeTypeName: "CommentEdge") {
                  id
                  author
                  text
                }
              }
              ... on CommentDeleted {
                commentId @deleteRecord
              }
            }
          }
        `,
        variables: { postId: id, after: commentChangesCursor, connections: [comments.__id] },
      }),
      [id, commentChangesCursor, comments.__id],
    ),
  );

  return (
    <>
      <h1>{title}</h1>
      <ul>
        {comments.edges.map(({ node }) => (
          <li key={node.id}>
            {node.author}: {node.text}
          </li>
        ))}
      </ul>
      {hasNext && (
        <button disabled={isLoadingNext} onClick={() => loadNext(3)}>
          Older comments
        </button>
      )}
    </>
  );
}

createRoot(document.getElementById('root')).render(
  <RelayEnvironmentProvider environment={environment}>
    <Suspense fallback="Loading…">
      <NewestPost />
    </Suspense>
  </RelayEnvironmentProvider>,
);
