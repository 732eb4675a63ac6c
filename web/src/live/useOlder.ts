// The next page of a list: asked for at a button, and what went wrong with it.

import { useState } from 'react';

interface Older {
  isLoading: boolean;
  error: unknown;
  load: () => void;
}

export function useOlder(fetchNext: () => Promise<unknown>): Older {
  const [isLoading, setLoading] = useState(false);
  const [error, setError] = useState<unknown>();

  const load = () => {
    setLoading(true);
    setError(undefined);
    fetchNext()
      .catch(setError)
      .finally(() => setLoading(false));
  };
  return { isLoading, error, load };
}
