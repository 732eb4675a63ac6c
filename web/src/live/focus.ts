// Where the focus goes when what had it leaves the page: without this it falls back to the page's top.

export function focusOn(element: Element | null | undefined): void {
  if (element instanceof HTMLElement) element.focus({ preventScroll: true });
}

/** The `ref` of what takes the focus when it appears: a browser heeds its attribute `autofocus` once a page. */
export function takeFocus(element: HTMLElement | null): void {
  element?.focus();
}

/** Whether what had the focus has left the page, and the reader has not gone on elsewhere. */
export function isFocusLost(): boolean {
  return document.activeElement === null || document.activeElement === document.body;
}
