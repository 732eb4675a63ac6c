// What a view shows of the cache, and the reading that puts it there.

import type { OperationVariables, TypedDocumentNode } from '@apollo/client';
import { useQuery } from '@apollo/client/react';
import { useCallback, useEffect, useState } from 'react';

import { readOnce } from './graph/read';

interface Shown<Data> {
  /** As soon as the cache has all of it. */
  data: Data | undefined;
  /** Why it could not be read. */
  error: unknown;
  retry: () => void;
}

/**
 * Shows the answer to a query from the cache, and every change of it. Where the cache lacks it, `read`
 * is called, once for all who ask under the same name.
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
  const start = useCallback(() => {
    readOnce(name, read).then(() => setError(undefined), setError);
  }, [name, read]);
  const isMissing = data === undefined;
  useEffect(() => {
    if (isMissing) start();
  }, [isMissing, start]);
  const retry = () => {
    setError(undefined);
    start();
  };
  return { data: data as Data | undefined, error, retry };
}
