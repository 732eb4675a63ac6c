// The code that draws markup: it is large, and is loaded when the first text with some comes.

import type { ReactNode } from 'react';

type Draw = (text: string) => ReactNode;

let draw: Draw | undefined;
let loading: Promise<void> | undefined;
const listeners = new Set<() => void>();

/** Draws Markdown; undefined until its code is there. */
export function drawer(): Draw | undefined {
  return draw;
}

/** Loads the code, once. */
export function loadDrawer(): Promise<void> {
  loading ??= import('./markdown').then(
    (loaded) => {
      draw = loaded.drawMarkdown;
      listeners.forEach((listener) => listener());
    },
    () => {
      // The texts stay as they were typed. The next one that is shown asks again.
      loading = undefined;
    },
  );
  return loading;
}

/** Calls `listener` when the code is there, until the returned function is called. */
export function onDrawer(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
