// The name that a person writes under, remembered in this browser.

import { useState } from 'react';

const KEY = 'rejoinder.author';

export function useAuthorName(): [string, (name: string) => void] {
  const [name, setName] = useState(rememberedAuthor);
  return [
    name,
    (changed) => {
      setName(changed);
      remember(changed);
    },
  ];
}

// A browser that keeps nothing for pages throws: then the name is asked for each time.
export function rememberedAuthor(): string {
  try {
    return localStorage.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}

function remember(name: string): void {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // See above.
  }
}
