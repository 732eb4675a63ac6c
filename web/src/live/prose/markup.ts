// Whether a text has markup.

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
