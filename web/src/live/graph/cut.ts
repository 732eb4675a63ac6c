// Texts of which the page has the beginning alone.

/** Whether there is more of a post's text. */
export function isCut({ content, contentBytes }: { content: string; contentBytes: number }): boolean {
  return new TextEncoder().encode(content).length < contentBytes;
}
