// The Apollo client: queries and mutations over HTTP, subscriptions over the WebSocket.

import {
  ApolloClient,
  ApolloLink,
  type FieldMergeFunction,
  type FieldPolicy,
  HttpLink,
  InMemoryCache,
  type Reference,
} from '@apollo/client';
import { relayStylePagination } from '@apollo/client/utilities';
import { OperationTypeNode } from 'graphql';
import { resumingLink } from 'rejoinder-client/apollo';
import { graphqlWs } from 'rejoinder-client/graphql-ws';

import { fetchSigned } from '../../signIn/session';
import { Connection, LONGEST_RETRY_MS } from './connection';
import { ANSWERED_WITHIN_MS, GRAPHQL_PATH } from './started';
import { startedLink } from './startedLink';

const fetchInTime: typeof fetch = (input, init) => {
  const signals = [AbortSignal.timeout(ANSWERED_WITHIN_MS), ...(init?.signal ? [init.signal] : [])];
  return fetchSigned(input, { ...init, signal: AbortSignal.any(signals) });
};

export const connection = new Connection(GRAPHQL_PATH);

/** Subscriptions that continue after the last event's cursor; without cursors, their readers hear of each gap. */
const subscriptions = resumingLink(graphqlWs(connection.socket), () => {
  const identity = {};
  return {
    // What is followed was read with its cursor, and is read again with the next one.
    resync: 'end',
    tellsFirstGap: true,
    longestRetryMs: LONGEST_RETRY_MS,
    onState(state) {
      if (state === 'connecting') return;
      connection.markInterrupted(identity, state === 'waiting' || state === 'interrupted');
    },
  };
});

/** Page after page, each comment once: a page may bring what an event has put into the list before. */
function commentPages(): FieldPolicy {
  const { keyArgs, read, merge } = relayStylePagination(['orderBy']) as FieldPolicy & {
    merge: FieldMergeFunction;
  };
  return {
    keyArgs,
    read,
    merge(existing, incoming, options) {
      const merged = merge(existing, incoming, options) as { edges: { node: Reference }[] };
      const lastAt = new Map(merged.edges.map(({ node }, index) => [node.__ref, index]));
      return { ...merged, edges: merged.edges.filter(({ node }, index) => lastAt.get(node.__ref) === index) };
    },
  };
}

export const client = new ApolloClient({
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    subscriptions,
    ApolloLink.from([startedLink(), new HttpLink({ uri: GRAPHQL_PATH, fetch: fetchInTime })]),
  ),
  cache: new InMemoryCache({
    possibleTypes: {
      CommentChange: ['CommentAdded', 'CommentEdited', 'CommentDeleted', 'CommentReactionsChanged'],
      ModerationChange: ['ModerationEntered', 'ModerationChanged', 'ModerationLeft'],
    },
    typePolicies: {
      Query: { fields: { posts: relayStylePagination() } },
      // Of a text there is the beginning or the whole, never both.
      Post: { fields: { comments: commentPages(), content: { keyArgs: false } } },
      Comment: {
        fields: {
          // A parent that is gone leaves a reference to nothing: without this, the whole list would be incomplete.
          parent: {
            read: (parent: Reference | null | undefined, { canRead }) =>
              parent && canRead(parent) ? parent : parent === undefined ? undefined : null,
          },
          reactions: { merge: false },
        },
      },
    },
  }),
});
