// What GraphiQL keeps in the browser: everything but headers, which may have a token. A session ends with its tab, and
// GraphiQL's history would keep its tokens for good, whatever `shouldPersistHeaders` says.

import type { Storage } from '@graphiql/toolkit';

const PREFIX = 'graphiql:';
/** The history and its favourites: each holds a list under its own name. */
const LISTS = ['queries', 'favorites'];

export function storageWithoutHeaders(kept: globalThis.Storage): Storage {
  for (const list of LISTS) {
    const before = kept.getItem(PREFIX + list);
    if (before !== null) kept.setItem(PREFIX + list, withoutHeaders(before));
  }
  const own = () => Object.keys(kept).filter((key) => key.startsWith(PREFIX));
  return {
    getItem: (key) => kept.getItem(key),
    setItem: (key, value) => {
      kept.setItem(key, LISTS.some((list) => key === PREFIX + list) ? withoutHeaders(value) : value);
    },
    removeItem: (key) => kept.removeItem(key),
    clear: () => own().forEach((key) => kept.removeItem(key)),
    get length() {
      return own().length;
    },
  };
}

/** Of what is no list, nothing is kept. */
function withoutHeaders(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text, (key, value: unknown) => (key === 'headers' ? undefined : value)));
  } catch {
    return '{}';
  }
}
