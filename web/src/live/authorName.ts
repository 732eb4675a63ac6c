// The name that a person writes under, remembered in this browser.

import { useState } from 'react';

const KEY = 'rejoinder.author';

export function useAuthorName(): [string, (name: string) => void] {
  const [name, setName] = useState(() => localStorage.getItem(KEY) ?? '');
  return [
    name,
    (changed) => {
      setName(changed);
      localStorage.setItem(KEY, changed);
    },
  ];
}
