// What the server accepts as a text, checked where it is written.

export const COMMENT_CHARS_MAX = 5_000;
export const TITLE_CHARS_MAX = 200;
export const CONTENT_CHARS_MAX = 20_000;

/** Control characters but line breaks and tabs: they cannot be seen, and the server refuses them. */
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const INVISIBLE = /^[\s\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]*$/u;

/** The text as it is sent. */
export function cleaned(text: string): string {
  return text.replace(/\r\n?/g, '\n').replace(CONTROLS, '').trim();
}

/** Whether nothing of a text can be seen. */
export function isBlank(text: string): boolean {
  return INVISIBLE.test(text);
}

/** Its length as the server counts it: in characters, not in UTF-16 units. */
export function charsOf(text: string): number {
  const sent = cleaned(text);
  let chars = 0;
  for (const character of sent) chars += character.length > 0 ? 1 : 0;
  return chars;
}
