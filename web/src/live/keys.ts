// The two keys that every form knows: Ctrl or Command with Enter sends, Escape cancels.

import type { KeyboardEvent } from 'react';

export function sendOnShortcut(event: KeyboardEvent<HTMLFormElement>, cancel?: () => void): void {
  // In the middle of composing a character, both keys are the input method's own.
  if (event.nativeEvent.isComposing) return;
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) event.currentTarget.requestSubmit();
  if (event.key === 'Escape') cancel?.();
}
