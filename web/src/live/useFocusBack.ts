// The focus goes back to the button that opened something, unless the reader has gone on meanwhile.

import { type RefObject, useEffect, useRef } from 'react';

import { isFocusLost } from './focus';

/** The ref is for the button. */
export function useFocusBack(isOpen: boolean): RefObject<HTMLButtonElement | null> {
  const button = useRef<HTMLButtonElement>(null);
  const wasOpen = useRef(false);
  useEffect(() => {
    if (wasOpen.current && !isOpen && isFocusLost()) button.current?.focus();
    wasOpen.current = isOpen;
  }, [isOpen]);
  return button;
}
