// The Apollo client: queries and mutations over HTTP, subscriptions over the WebSocket.

import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from '@apollo/client';
import { relayStylePagination } from '@apollo/client/utilities';
import { OperationTypeNode } from 'graphql';

import { Connection } from './connection';
import { resumingLink } from './resumingLink';
import { GRAPHQL_PATH } from './started';
import { startedLink } from './startedLink';

export const connection = new Connection(GRAPHQL_PATH);

export const client = new ApolloClient({
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    resumingLink(connection),
    ApolloLink.from([startedLink(), new HttpLink({ uri: GRAPHQL_PATH })]),
  ),
  cache: new InMemoryCache({
    possibleTypes: { CommentChange: ['CommentAdded', 'CommentEdited', 'CommentDeleted'] },
    typePolicies: {
      Query: { fields: { posts: relayStylePagination() } },
      Post: { fields: { comments: relayStylePagination(['orderBy']) } },
    },
  }),
});
