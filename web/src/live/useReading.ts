// What a view shows of the cache, and the reading that puts it there.

import type { OperationVariables, TypedDocumentNode } from '@apollo/client';
import { useQuery } from '@apollo/client/react';
import { useEffect, useState } from 'react';

import { client, connection } from './graph/client';
import { retryDelay } from './graph/connection';
import { readOnce } from './graph/read';
import { isTriedAgain } from './words';

/** After this, a reader wants to know that it is not the page that hangs. */
const SLOW_AFTER_MS = 3_000;

export interface Shown<Data> {
  /** As soon as the cache has all of it. */
  data: Data | undefined;
  /** Why the last try failed. Where another one may help, it comes by itself. */
  error: unknown;
  /** It takes longer than one waits without a word. */
  isSlow: boolean;
  /** Tries at once. */
  retry: () => void;
}

/**
 * Shows the answer to a query from the cache, and every change of it. Where the cache lacks it, `read`
 * is called, once for all who ask under the same name, until it succeeds.
 */
export function useReading<Data, Variables extends OperationVariables>(
  query: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  name: string,
  read: () => Promise<unknown>,
): Shown<Data> {
  const options = { variables, fetchPolicy: 'cache-only' } as useQuery.Options<Data, Variables>;
  const { data } = useQuery(query, options);
  const [error, setError] = useState<unknown>();
  const [isSlow, setSlow] = useState(false);
  const [asked, setAsked] = useState(0);
  const isMissing = data === undefined;
  // As a text: the same ones are another object at each drawing.
  const asText = JSON.stringify(variables);

  useEffect(() => {
    // A reading that was under way may have put it there since the page was drawn. Another answer might be older than what
    // has arrived since.
    const known = () => client.readQuery({ query, variables: JSON.parse(asText) as Variables });
    if (!isMissing || known() !== null) return;
    const identity = {};
    let stopped = false;
    let attempt = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const slow = setTimeout(() => {
      setSlow(true);
      // What is not there is not live, though other things are.
      connection.markInterrupted(identity, true);
    }, SLOW_AFTER_MS);
    const start = () => {
      readOnce(name, read).then(
        () => {},
        (failure: unknown) => {
          if (stopped) return;
          setError(failure);
          if (!isTriedAgain(failure)) return;
          connection.markInterrupted(identity, true);
          timer = setTimeout(start, retryDelay(attempt++));
        },
      );
    };
    start();
    return () => {
      stopped = true;
      clearTimeout(timer);
      clearTimeout(slow);
      connection.markInterrupted(identity, false);
      setError(undefined);
      setSlow(false);
    };
  }, [isMissing, query, asText, name, read, asked]);

  return { data: data as Data | undefined, error, isSlow, retry: () => setAsked(asked + 1) };
}
