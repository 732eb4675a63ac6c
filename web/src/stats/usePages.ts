// Whether the other pages are at this address: on the port for operators they are not.

import { useEffect, useState } from 'react';

export function usePages(): boolean {
  const [hasPages, setHasPages] = useState(true);
  useEffect(() => {
    const stopped = new AbortController();
    fetch('/sign-in.json', { signal: stopped.signal })
      .then(({ status }) => setHasPages(status !== 404))
      .catch(() => {});
    return () => stopped.abort();
  }, []);
  return hasPages;
}
