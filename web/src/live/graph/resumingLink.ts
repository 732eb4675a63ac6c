// Subscriptions that continue where they stopped: an Apollo link over graphql-ws.
//
// graphql-ws sends a subscription again after it has lost its socket, with the variables it was
// given. This link writes the cursor of the last event into `after` before that happens, so nothing
// between the two is missed. A subscription that the server refused is tried again. Where the events
// have no cursor, the reader is told each time the subscription stands, the first time too, that
// events before it may be missing, with the error that a gateway tells it with.

import { ApolloLink, CombinedGraphQLErrors, Observable } from '@apollo/client';
import { print } from 'graphql';
import type { GraphQLFormattedError } from 'graphql';

import { type Connection, retryDelay } from './connection';

/** The cursor is older than the server's history: what was missed has to be queried. */
const RESYNC_REQUIRED = 'RESYNC_REQUIRED';

/** Events of a while are missing, and the subscription goes on. */
export const SUBSCRIPTION_INTERRUPTED = 'SUBSCRIPTION_INTERRUPTED';
const GAP: GraphQLFormattedError = {
  message: 'Events from before the subscription stood may be missing.',
  extensions: { code: SUBSCRIPTION_INTERRUPTED },
};

/** A server that asks to wait for longer is tried all the same. */
const LONGEST_WAIT_MS = 60 * 60 * 1_000;

/** A subscription that was not refused for so long has been taken: the protocol has no word for it. */
const TAKEN_AFTER_MS = 500;

/** Errors that another try of the same subscription cannot cure. */
const FINAL_CODES = new Set([
  RESYNC_REQUIRED,
  'BAD_USER_INPUT',
  'FORBIDDEN',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'NOT_FOUND',
  'UNAUTHENTICATED',
]);

type Answer = Record<string, unknown>;

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
        let isTaken = false;
        let takenTimer: ReturnType<typeof setTimeout> | undefined;
        let retryTimer: ReturnType<typeof setTimeout> | undefined;
        /** What graphql-ws holds for us; none while another try is waited for. */
        let held: { end: () => void } | undefined;

        const release = () => {
          const released = held;
          held = undefined;
          clearTimeout(takenTimer);
          released?.end();
        };
        const sent = () => {
          if (!held) return;
          isTaken = false;
          clearTimeout(takenTimer);
          takenTimer = setTimeout(() => {
            // Else it is sent again when the socket opens.
            if (connection.isOpen) taken();
          }, TAKEN_AFTER_MS);
        };
        const taken = () => {
          clearTimeout(takenTimer);
          if (isTaken) return;
          isTaken = true;
          attempt = 0;
          connection.markInterrupted(identity, false);
          if (payload.variables.after === undefined) observer.next({ data: null, errors: [GAP] });
        };
        const refused = (errors: readonly GraphQLFormattedError[]) => {
          release();
          if (errors.some(isFinal)) return observer.error(new CombinedGraphQLErrors({ errors }));
          const lastCursor = errors[0]?.extensions?.cursor;
          if (typeof lastCursor === 'string') payload.variables.after = lastCursor;
          connection.markInterrupted(identity, true);
          retryTimer = setTimeout(start, Math.max(retryDelay(attempt++), waitIn(errors)));
        };
        const start = () => {
          const mine = { end: () => {} };
          held = mine;
          mine.end = connection.socket.subscribe<Answer, Answer>(payload, {
            next: (result) => {
              if (held !== mine) return;
              const { data, errors } = result;
              // Without data, errors say why there is no subscription, or that an event was lost. The
              // gateway's own word for a gap is the exception: its subscription goes on.
              if (errors && !data && !errors.some(isInterruption)) return refused(errors);
              taken();
              const cursor = cursorOf(data);
              if (cursor !== undefined) payload.variables.after = cursor;
              observer.next(result);
            },
            error: (error) => {
              if (held === mine) refused(asGraphqlErrors(error));
            },
            complete: () => {
              if (held === mine) observer.complete();
            },
          });
          if (connection.isOpen) sent();
        };
        const stopListening = connection.onOpen(sent);
        start();

        return () => {
          stopListening();
          clearTimeout(retryTimer);
          release();
          connection.markInterrupted(identity, false);
        };
      }),
  );
}

/** The `cursor` of the one field that a subscription has. */
function cursorOf(data: Answer | null | undefined): string | undefined {
  const event = Object.values(data ?? {})[0];
  if (typeof event !== 'object' || event === null || !('cursor' in event)) return undefined;
  return typeof event.cursor === 'string' ? event.cursor : undefined;
}

/** How long the server asks to wait, in milliseconds. */
function waitIn(errors: readonly GraphQLFormattedError[]): number {
  const seconds = errors[0]?.extensions?.retryAfter;
  return typeof seconds === 'number' ? Math.min(seconds * 1_000, LONGEST_WAIT_MS) : 0;
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
