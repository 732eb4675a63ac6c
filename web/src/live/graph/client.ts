// The Apollo client: queries and mutations over HTTP, subscriptions over the WebSocket.

import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, type Reference } from '@apollo/client';
import { relayStylePagination } from '@apollo/client/utilities';
import { OperationTypeNode } from 'graphql';

import { fetchSigned } from '../../signIn/session';
import { Connection } from './connection';
import { resumingLink } from './resumingLink';
import { ANSWERED_WITHIN_MS, GRAPHQL_PATH } from './started';
import { startedLink } from './startedLink';

const fetchInTime: typeof fetch = (input, init) => {
  const signals = [AbortSignal.timeout(ANSWERED_WITHIN_MS), ...(init?.signal ? [init.signal] : [])];
  return fetchSigned(input, { ...init, signal: AbortSignal.any(signals) });
};

export const connection = new Connection(GRAPHQL_PATH);

export const client = new ApolloClient({
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    resumingLink(connection),
    ApolloLink.from([startedLink(), new HttpLink({ uri: GRAPHQL_PATH, fetch: fetchInTime })]),
  ),
  cache: new InMemoryCache({
    possibleTypes: {
      CommentChange: ['CommentAdded', 'CommentEdited', 'CommentDeleted', 'CommentReactionsChanged'],
      ModerationChange: ['ModerationEntered', 'ModerationChanged', 'ModerationLeft'],
    },
    typePolicies: {
      Query: { fields: { posts: relayStylePagination() } },
      Post: { fields: { comments: relayStylePagination(['orderBy']) } },
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
