// Relay: a post's comments, page by page in its pagination container, and changes live.
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

const NEWEST = graphql`
  query mainNewestQuery { posts(first: 1) { edges { node { id } } } }
`;
const POST = graphql`
  query mainPostQuery($id: ID!) { ...main_post @arguments(id: $id) }
`;
// On Query, with the post's id as an argument: the graph has no `node` field to fetch a Post by.
const PAGES = graphql`
  fragment main_post on Query
  @refetchable(queryName: "mainPagesQuery")
  @argumentDefinitions(
    id: { type: "ID!" }, count: { type: "Int", defaultValue: 3 }, cursor: { type: "String" }
  ) {
    post(id: $id) {
      id
      title
      commentChangesCursor
      comments(first: $count, after: $cursor) @connection(key: "main_comments") {
        __id
        edges { node { id author text } }
      }
    }
  }
`;
const CHANGES = graphql`
  subscription mainChangesSubscription($postId: ID!, $after: String, $connections: [ID!]!) {
    commentChanges(postId: $postId, after: $after) {
      ... on CommentAdded {
        comment @prependNode(connections: $connections, edgeTypeName: "CommentEdge") { id author text }
      }
      ... on CommentEdited { comment { id text } }
      ... on CommentDeleted { commentId @deleteEdge(connections: $connections) }
    }
  }
`;

function NewestPost() {
  const { posts } = useLazyLoadQuery(NEWEST, {});
  const id = posts.edges[0]?.node.id;
  return id ? <Post id={id} /> : <p>No posts yet.</p>;
}

function Post({ id }) {
  return <Comments query={useLazyLoadQuery(POST, { id })} />;
}

function Comments({ query }) {
  const { data, loadNext, hasNext, isLoadingNext, refetch } = usePaginationFragment(PAGES, query);
  const { id, title, commentChangesCursor: after, comments } = data.post;
  const variables = useMemo(
    () => ({ postId: id, after, connections: [comments.__id] }),
    [id, after, comments.__id],
  );
  useSubscription(useMemo(() => ({ subscription: CHANGES, variables }), [variables]));

  return (
    <>
      <h1>{title}</h1>
      <button onClick={() => refetch({}, { fetchPolicy: 'store-and-network' })}>Reload</button>
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
