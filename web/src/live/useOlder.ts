// The next page of a list: asked for at a button, and what went wrong with it.

import { type RefObject, useLayoutEffect, useRef, useState } from 'react';

import { focusOn } from './focus';

interface Older {
  isLoading: boolean;
  error: unknown;
  load: () => void;
}

/** Reads by `fetchNext`. A focus on the list's button goes on to the first item that came. */
export function useOlder(list: RefObject<HTMLElement | null>, fetchNext: () => Promise<unknown>): Older {
  const [isLoading, setLoading] = useState(false);
  const [error, setError] = useState<unknown>();
  /** The button, and how many items there were. */
  const awaited = useRef<{ button: Element | null; items: number }>(undefined);

  // After each drawing: the items come when the cache says so, and the button may have left the page.
  useLayoutEffect(() => {
    const { button, items } = awaited.current ?? {};
    if (items === undefined) return;
    const first = itemsOf(list.current)[items];
    if (!first) return;
    awaited.current = undefined;
    if (document.activeElement === button || document.activeElement === document.body)
      focusOn(first.querySelector('a.row-title') ?? first);
  });

  const load = () => {
    if (isLoading) return;
    awaited.current = { button: document.activeElement, items: itemsOf(list.current).length };
    setLoading(true);
    setError(undefined);
    fetchNext()
      .catch(setError)
      .finally(() => setLoading(false));
  };
  return { isLoading, error, load };
}

/** The items alone: a line between two of them comes and goes. */
function itemsOf(list: HTMLElement | null): Element[] {
  return [...(list?.children ?? [])].filter((child) => !child.matches('.new-line'));
}
