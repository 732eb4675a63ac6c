// Subscriptions that continue where they stopped: an Apollo link over graphql-ws.
//
// graphql-ws sends a subscription again after it has lost its socket, with the variables it was
// given. This link writes the cursor of the last event into `after` before that happens, so nothing
// between the two is missed. A subscription that the server refused is tried again; where its events
// have no cursor, its reader is told of the gap with the error that a gateway tells one with.

import { ApolloLink, CombinedGraphQLErrors, Observable } from '@apollo/client';
import { print } from 'graphql';
import type { GraphQLFormattedError } from 'graphql';

import { type Connection, retryDelay } from './connection';

/** The cursor is older than the server's history: what was missed has to be queried. */
export const RESYNC_REQUIRED = 'RESYNC_REQUIRED';

/** Events of a while are missing, and the subscription goes on. */
const SUBSCRIPTION_INTERRUPTED = 'SUBSCRIPTION_INTERRUPTED';
const GAP: GraphQLFormattedError = {
  message: 'The subscription was refused for a while: events of that time may be missing.',
  extensions: { code: SUBSCRIPTION_INTERRUPTED },
};

/** A try that was not refused for so long has been taken: the protocol has no word for it. */
const TAKEN_AFTER_MS = 1_000;

/** Errors that another try of the same subscription cannot mend. */
const FINAL_CODES = new Set([
  RESYNC_REQUIRED,
  'BAD_USER_INPUT',
  'FORBIDDEN',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'NOT_FOUND',
  'UNAUTHENTICATED',
]);

export function resumingLink(connection: Connection): ApolloLink {
  return new ApolloLink(
    (operation) =>
      new Observable((observer) => {
        const payload = {
          query: print(operation.query),
          operationName: operation.operationName ?? null,
          variables: { ...operation.variables },
        };
        const identity = {};
        let attempt = 0;
        let timer: ReturnType<typeof setTimeout> | undefined;
        let unsubscribe = () => {};

        const taken = () => {
          clearTimeout(timer);
          attempt = 0;
          connection.markInterrupted(identity, false);
        };
        const refused = (errors: readonly GraphQLFormattedError[]) => {
          clearTimeout(timer);
          if (errors.some(isFinal)) {
            connection.markInterrupted(identity, false);
            observer.error(new CombinedGraphQLErrors({ errors }));
            return;
          }
          const lastCursor = errors[0]?.extensions?.cursor;
          if (typeof lastCursor === 'string') payload.variables.after = lastCursor;
          connection.markInterrupted(identity, true);
          timer = setTimeout(tryAgain, retryDelay(attempt++));
        };
        const tryAgain = () => {
          timer = setTimeout(() => {
            taken();
            if (payload.variables.after === undefined) observer.next({ data: null, errors: [GAP] });
          }, TAKEN_AFTER_MS);
          start();
        };
        const start = () => {
          let refusal: readonly GraphQLFormattedError[] | undefined;
          unsubscribe = connection.socket.subscribe<Record<string, unknown>, Record<string, unknown>>(
            payload,
            {
              next: (result) => {
                if (result.errors && !result.data && !result.errors.some(isInterruption)) {
                  refusal = result.errors;
                  return;
                }
                taken();
                const cursor = cursorOf(result.data);
                if (cursor !== undefined) payload.variables.after = cursor;
                observer.next(result);
              },
              error: (error) => refused(asGraphqlErrors(error)),
              complete: () => {
                if (refusal) return refused(refusal);
                taken();
                observer.complete();
              },
            },
          );
        };
        start();

        return () => {
          clearTimeout(timer);
          connection.markInterrupted(identity, false);
          unsubscribe();
        };
      }),
  );
}

/** The `cursor` of the one field that a subscription has. */
function cursorOf(data: Record<string, unknown> | null | undefined): string | undefined {
  const event = Object.values(data ?? {})[0];
  if (typeof event !== 'object' || event === null || !('cursor' in event)) return undefined;
  return typeof event.cursor === 'string' ? event.cursor : undefined;
}

function isInterruption(error: GraphQLFormattedError): boolean {
  return error.extensions?.code === SUBSCRIPTION_INTERRUPTED;
}

function isFinal(error: GraphQLFormattedError): boolean {
  return FINAL_CODES.has(String(error.extensions?.code));
}

function asGraphqlErrors(error: unknown): readonly GraphQLFormattedError[] {
  return Array.isArray(error) ? error : [{ message: 'The live connection was closed.' }];
}
