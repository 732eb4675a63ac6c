// Whether a text has markup, and the code that draws it: that is large, and is loaded when the first such text comes.

import type { ReactNode } from 'react';

/**
 * What Markdown or an address has. A text without any of it looks the same with and without the parser; one that has
 * some and is plain all the same only costs its loading.
 */
const MARKUP =
  /[*_`]|\]\(|\\[!-/:-@[-`{-~]|\S@\S|https?:|www\.|~~~|^[ \t]*(?:>|#{1,6}[ \t]|[-+][ \t]|\d{1,9}[.)][ \t])/im;
const BLANK_LINES = /\n[ \t]*\n\s*/;

/** As it was typed, a blank line between two. */
export function paragraphsOf(text: string): string[] {
  return text.split(BLANK_LINES);
}

export function hasMarkup(text: string): boolean {
  return MARKUP.test(text);
}

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
