// The two keys that every form knows: Ctrl or Command with Enter sends, Escape cancels.

import type { KeyboardEvent } from 'react';

export function sendOnShortcut(event: KeyboardEvent<HTMLFormElement>, cancel?: () => void): void {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) event.currentTarget.requestSubmit();
  if (event.key === 'Escape') cancel?.();
}
